"""Who is let in: API keys, hosts, pages of other origins, and addresses behind a proxy."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from recorded.models import steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, json_of, raw_json
from recorded.transcript import Varying

_USE: Final = "vae_" + "u" * 43
_ADMIN: Final = "vae_" + "a" * 43
_PAGE: Final = "https://page.example"
_NOTHING: Final = Payload(b"", None)
_LONG: Final = Varying(body=True)


def _key_file(directory: Path, *entries: tuple[str, str]) -> Path:
    path = directory / "api-keys"
    path.write_text("".join(f"{hashlib.sha256(key.encode()).hexdigest()} {rest}\n" for key, rest in entries))
    path.chmod(0o600)
    return path


def keys(notebook: Notebook) -> None:
    """Keys of both scopes, wrong ones and none."""
    file = _key_file(notebook.scratch, (_USE, "use phone-app"), (_ADMIN, "admin deploy"))
    with notebook.application("keys of both scopes", api_keys_file=file) as ask:
        for path in ("/", "/docs", "/problems", "/openapi.json", "/limits"):
            ask.ask("GET", path, varying=_LONG)
        for path in (
            "/livez",
            "/readyz",
            "/problems/missing-key",
            "/metrics",
            "/models",
            "/models/mnist",
            "/sample?seed=1",
            "/nothing",
            "/livez/",
            "/docs/../sample",
        ):
            ask.get(path)
        ask.ask("HEAD", "/sample")
        ask.ask("OPTIONS", "/sample")
        ask.ask("PUT", "/sample")
        ask.post("/encode", {"images": steps(1, (1, 4, 6))})
        for value in (
            f"Bearer {_USE}",
            f"bearer {_ADMIN}",
            f"Bearer  {_USE} ",
            "Bearer",
            "Bearer ",
            _USE,
            f"Basic {_USE}",
            f"Bearer {_USE[:-1]}",
            f"Bearer {_USE}A",
            "Bearer schlüssel",
            f'Bearer "{_USE}"',
            f"Bearer {'A' * 600}",
            "",
        ):
            ask.get("/sample?seed=1", authorization=value)
        ask.ask("GET", "/sample?seed=1", [("authorization", f"Bearer {_USE}")] * 2)
        ask.ask("GET", "/metrics", [("authorization", f"Bearer {_USE}")], varying=_LONG)
        ask.get("/nothing", authorization=f"Bearer {_USE}")
        ask.post("/models/mnist/reload", _NOTHING)
        ask.post("/models/mnist/reload", _NOTHING, authorization=f"Bearer {_USE}")
        ask.post("/models/mnist/reload", _NOTHING, authorization=f"Bearer {_ADMIN}")
        ask.post("/models/mnist/reload", _NOTHING, authorization=f"Bearer {_ADMIN}", origin=_PAGE)
    with notebook.application("administration is off", api_keys_file=file, admin=False) as ask:
        ask.post("/models/mnist/reload", _NOTHING, authorization=f"Bearer {_ADMIN}")
    with notebook.application("without keys, any key will do") as ask:
        ask.get("/sample?seed=1", authorization="Bearer nonsense")


def hosts(notebook: Notebook) -> None:
    """Names that the server is called by."""
    with notebook.application("two names", allowed_hosts="vae.example,*.lab.example") as ask:
        for host in (
            "vae.example",
            "VAE.example.:8000",
            "a.lab.example",
            "lab.example",
            "evil.example",
            "localhost:1",
            "x.localhost",
            "10.0.0.1",
            "[::1]:8000",
            "",
            None,
        ):
            ask.ask("GET", "/sample?seed=1&n=1", host=host)
        for path in ("/livez", "/readyz", "/", "/docs", "/nothing", "/limits"):
            ask.ask("GET", path, host="evil.example")
        ask.ask("GET", "/metrics", host="evil.example", varying=_LONG)
        ask.ask("GET", "/sample", [("host", "vae.example")], host="localhost")
        ask.ask(
            "POST", "/encode", [("content-type", "application/json")], raw_json(b"{"), host="evil.example"
        )
    with notebook.application("all names", allowed_hosts="*") as ask:
        ask.ask("GET", "/livez", host="evil.example")
        ask.ask("GET", "/sample?seed=1&n=1", host="evil.example")


def origins(notebook: Notebook) -> None:
    """Pages of other origins, with and without permission."""
    image = json_of({"images": steps(1, (1, 4, 6))})
    for about, setting in (
        ("no origin", None),
        ("one origin", _PAGE),
        ("two origins", f"{_PAGE}, http://localhost:3000"),
        ("all origins", "*"),
    ):
        with notebook.application(about, cors_origins=setting) as ask:
            for origin in (_PAGE, "https://evil.example", "null"):
                asked = [("origin", origin), ("access-control-request-method", "POST")]
                names = ("access-control-request-headers", "authorization,content-type")
                ask.ask("OPTIONS", "/encode", [*asked, names])
                ask.post("/encode", image, origin=origin)
            preflight = [("origin", _PAGE), ("access-control-request-method", "POST")]
            ask.ask("OPTIONS", "/encode", [*preflight, ("access-control-request-private-network", "true")])
            ask.ask("OPTIONS", "/encode", [*preflight, ("access-control-request-headers", "x-other")])
            ask.ask("OPTIONS", "/encode", [("origin", _PAGE), ("access-control-request-method", "DELETE")])
            ask.ask("OPTIONS", "/encode", [("origin", _PAGE)])
            ask.ask("OPTIONS", "/nothing", preflight)
            ask.get("/nothing", origin=_PAGE)
            ask.get("/sample?n=0", origin=_PAGE)
            ask.ask("GET", "/problems", [("origin", _PAGE)], varying=_LONG)
            ask.get("/livez")
    file = _key_file(notebook.scratch, (_USE, "use"))
    with notebook.application("an origin and keys", cors_origins=_PAGE, api_keys_file=file) as ask:
        ask.ask("OPTIONS", "/encode", [("origin", _PAGE), ("access-control-request-method", "POST")])
        ask.get("/sample?seed=1", origin=_PAGE)
        ask.get("/sample?seed=1", origin=_PAGE, authorization=f"Bearer {_USE}")
    with notebook.application("an origin and hosts", cors_origins=_PAGE, allowed_hosts="vae.example") as ask:
        asked = [("origin", _PAGE), ("access-control-request-method", "POST")]
        ask.ask("OPTIONS", "/encode", asked, host="evil.example")


def public_address(notebook: Notebook) -> None:
    """A path before every other, by the setting and by headers of a trusted proxy."""
    image = json_of({"images": steps(1, (1, 4, 6))})
    with notebook.application("a path of its own", root_path="/team/vae/") as ask:
        for path in ("/team/vae/", "/team/vae/problems/not-ready", "/problems/not-ready"):
            ask.get(path)
        for path in ("/", "/team/vae", "/team/vae/docs", "/docs"):
            ask.ask("GET", path, varying=_LONG)
        ask.get("/team/vae/problems")
        ask.get("/team/vae/problems", accept="application/json")
        for path in ("/team/vae/nothing", "/team/vaexyz", "/team", "/team/vae/team/vae/livez"):
            ask.get(path)
        ask.get("/team/vae/sample?seed=1")
        ask.get("/team/vae/sample?n=0")
        ask.get("/team/vae/models/nobody")
        ask.post("/team/vae/encode", Payload(image.data, "text/plain"))
        ask.post("/encode", image)
        ask.ask("OPTIONS", "/team/vae/encode")
        ask.ask("DELETE", "/team/vae/encode")
        ask.ask("GET", "/team/vae/openapi.json", varying=_LONG)
        wrong = Payload(b"", "text/plain")
        ask.post("/sample", wrong, x_forwarded_prefix="/not/believed", x_forwarded_host="evil.example")
    with notebook.application("every proxy is trusted", trusted_proxies="*") as ask:
        ask.get("/", x_forwarded_prefix="/vae")
        wrong = Payload(b"", "text/plain")
        ask.post(
            "/sample", wrong, x_forwarded_prefix="/outer, /inner/", x_forwarded_host="vae.example, other"
        )
        ask.post(
            "/sample", wrong, x_forwarded_prefix="/../x", x_forwarded_host="a b", x_forwarded_proto="https"
        )
        ask.post("/sample", wrong, x_forwarded_proto="ftp", x_forwarded_for="192.0.2.1, 10.0.0.1")
        ask.get("/problems/too-busy", x_forwarded_prefix="/vae")
        ask.get("/sample?n=0", x_forwarded_prefix="/vae")
        ask.post(
            "/encode", Payload(image.data, "text/plain"), x_forwarded_prefix="/vae", x_forwarded_proto="https"
        )
