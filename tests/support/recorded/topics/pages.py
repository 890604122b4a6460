"""What describes the server and its models: pages, documents, probes, metrics, methods, reloading."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Final

from model_store import ModelStore
from recorded.models import ExactModel, steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, npy, raw_json
from recorded.transcript import Varying

#: Every path, with something that exists in place of a name.
PATHS: Final = (
    "/",
    "/docs",
    "/docs/swagger-ui.css",
    "/openapi.json",
    "/problems",
    "/problems/not-ready",
    "/limits",
    "/livez",
    "/readyz",
    "/metrics",
    "/models",
    "/models/mnist",
    "/models/mnist/reload",
    "/sample",
    "/encode",
    "/decode",
    "/reconstruct",
    "/interpolate",
    "/traverse",
    "/score",
    "/sample.png",
    "/encode.npz",
)
#: Files of another package, and documents that another topic holds.
_LONG: Final = Varying(body=True)


def models(notebook: Notebook) -> None:
    """The list, each model, and what is loaded only when it is asked for."""
    with notebook.application("as it starts") as ask:
        ask.get("/models")
        for name in (
            "mnist",
            "mnist@1",
            "mnist@stable",
            "mnist@candidate",
            "binary",
            "colour",
            "plain",
            "deep",
        ):
            ask.get(f"/models/{name}")
        ask.get("/models/mnist@3")
        ask.get("/models")
        ask.get("/models/mnist/preview")
    shown = ModelStore(notebook.scratch / "shown")
    ExactModel().publish(shown, "mnist", is_shown=True)
    with notebook.application("a version with a preview", model_store=shown.root) as ask:
        ask.get("/models")
        for suffix in ("", ".json", ".npz", ".png"):
            ask.get(f"/models/mnist/preview{suffix}")
        ask.get("/models/mnist@1/preview", accept="image/png")
        ask.ask("GET", "/models/mnist@1/preview", [("if-none-match", "*")])
        ask.ask("HEAD", "/models/mnist@1/preview")
        ask.get("/models/mnist/preview.gif")
        ask.get("/models/mnist/preview?n=1")
    with notebook.application("another default model", default_model="mnist@candidate") as ask:
        ask.get("/models")
        ask.get("/sample?seed=1")
        ask.get("/")
        ask.ask("GET", "/openapi.json", varying=_LONG)
    with notebook.application("a default model that was refused", default_model="broken") as ask:
        for target in ("/readyz", "/livez", "/models", "/sample?seed=1", "/sample?seed=1&model=mnist"):
            ask.get(target)
    with notebook.application("a default model that is not there", default_model="nobody@2") as ask:
        for target in ("/readyz", "/models", "/sample", "/sample?seed=1&model=mnist", "/models/nobody"):
            ask.get(target)
    empty = notebook.scratch / "empty"
    empty.mkdir()
    with notebook.application("an empty store", model_store=empty) as ask:
        for target in ("/readyz", "/livez", "/models", "/sample", "/models/mnist", "/"):
            ask.ask("GET", target, varying=notebook.places)
        ask.ask("HEAD", "/readyz", varying=notebook.places)
    damaged = ModelStore(notebook.scratch / "damaged")
    for name in ("mnist", "other"):
        ExactModel().publish(damaged, name)
    (damaged.root / "other" / "1" / "decoder.onnx").unlink()
    with notebook.application("a version without its decoder", model_store=damaged.root) as ask:
        for target in ("/readyz", "/models", "/sample?seed=1&model=other", "/models/other"):
            ask.ask("GET", target, varying=notebook.places)


def people(notebook: Notebook) -> None:
    """Help, documentation, problems and limits."""
    with notebook.application("pages") as ask:
        for target in ("/", "/docs", "/limits", "/problems"):
            ask.get(target)
            ask.ask("GET", f"{target}?utm_source=x", varying=_LONG)
        for headers in ([("accept", "text/html")], [("accept", "text/html"), ("if-none-match", "*")]):
            ask.ask("GET", "/", headers, varying=_LONG)  # the playground, which changes often
        ask.get("/playground/0123456789abcdef/main.js")
        ask.get("/problems", accept="text/html")
        ask.get("/problems", accept="image/png")
        listed = json.loads(ask.get("/problems", accept="application/json, text/plain;q=0.1").body)
        for problem in listed["problems"]:
            ask.get(f"/problems/{problem['code']}")
        ask.get("/problems/nothing")
        for asset in ("swagger-ui.css", "swagger-ui-bundle.js"):
            ask.ask("GET", f"/docs/{asset}", varying=_LONG)
            ask.ask("GET", f"/docs/{asset}", [("range", "bytes=0-9")], varying=_LONG)
        for target in (
            "/docs/other.js",
            "/docs/..%2fapp.py",
            "/docs/",
            "/nothing",
            "//",
            "/sample/",
            "/SAMPLE",
            "/favicon.ico",
            "/robots.txt",
        ):
            ask.get(target)
        ask.ask("GET", "/", host="vae.example:8443")
        for host in ("vae.example", "[::1]:8000", "a b", None):
            ask.ask("POST", "/sample", [("content-type", "text/plain")], host=host)
    with notebook.application(
        "limits of another server",
        max_images=16,
        max_body_bytes=4096,
        request_timeout_s=2.5,
        receipt_timeout_s=0.5,
        max_connections=7,
        model_idle_s=12.25,
    ) as ask:
        ask.get("/limits")


def openapi(notebook: Notebook) -> None:
    """The OpenAPI document, whole."""
    release = Varying(texts={f'"version":"{version("vae-service")}"': '"version":"<version>"'})
    with notebook.application("the document") as ask:
        ask.ask("GET", "/openapi.json", varying=release)


def operation(notebook: Notebook) -> None:
    """Probes, and the names of metrics after requests of each kind."""
    with notebook.application("probes and metrics") as ask:
        for target in ("/livez", "/readyz", "/livez?verbose", "/readyz?verbose=1"):
            ask.get(target)
        ask.ask("GET", "/metrics?name[]=x", varying=_LONG)
        ask.get("/sample?seed=1&n=3")
        ask.post("/encode", npy(steps(20, (1, 4, 6))))
        ask.get("/sample.npy?seed=1&n=300")
        ask.get("/sample?seed=1&model=mnist@3")
        ask.get("/nothing")
        ask.ask("BREW", "/sample")
        ask.get("/metrics")
    with notebook.application("without a line for each request", access_log="none") as ask:
        ask.get("/livez")


def methods(notebook: Notebook) -> None:
    """HEAD, OPTIONS and wrong methods, on every path."""
    with notebook.application("methods") as ask:
        for path in PATHS:
            ask.ask("OPTIONS", path)
            ask.ask("HEAD", path, varying=_LONG)
            ask.ask("DELETE", path)
        for path in ("/encode", "/score", "/models/mnist/reload"):
            ask.get(path)
        for path in ("/livez", "/models", "/openapi.json", "/", "/limits"):
            ask.post(path, raw_json(b"{}"))
        for method in ("PUT", "PATCH", "TRACE", "CONNECT", "BREW", "get", "QUERY"):
            ask.ask(method, "/sample")
        ask.ask("OPTIONS", "*")
        ask.ask("OPTIONS", "/nothing")
        ask.ask("HEAD", "/nothing")
        ask.ask("GET", "*")
        ask.ask("GET", "/sample?seed=1", [("content-type", "application/json")], Payload(b"{}", None))
        for name, value in (
            ("if-none-match", "*"),
            ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("range", "bytes=0-9"),
        ):
            ask.ask("GET", "/sample.npy?seed=1", [(name, value)])
            ask.ask("GET", "/limits", [(name, value)])


def reload(notebook: Notebook) -> None:
    """What a store has now, and who may ask for it."""
    nothing = Payload(b"", None)
    with notebook.application("administration is off") as ask:
        ask.post("/models/mnist/reload", nothing)
    store = ModelStore(notebook.scratch / "models")
    ExactModel().publish(store, "mnist")
    with notebook.application("administration without keys", model_store=store.root, admin=True) as ask:
        ask.post("/models/mnist/reload", nothing)
        ExactModel().publish(store, "mnist")
        ask.get("/models")
        ask.post("/models/mnist/reload", nothing)
        ask.get("/models")
        ExactModel(decoder="nan").publish(store, "mnist")
        ask.post("/models/mnist/reload", nothing)
        ask.get("/sample?seed=1")
        ask.get("/sample?seed=1&model=mnist@3")
        ask.get("/models")
        ask.get("/readyz")
        ask.post("/models/nobody/reload", nothing)
        ask.post("/models/mnist@1/reload", nothing)
        ask.post("/models/mnist/reload?now=true", nothing)
        ask.get("/models/mnist/reload")
        ask.post("/models/mnist/reload", nothing, origin="http://localhost:8000")
        ask.post("/models/mnist/reload", nothing, origin="https://evil.example")
        ask.post("/models/mnist/reload", nothing, origin="null")
        ask.post("/models/mnist/reload", nothing, sec_fetch_site="cross-site")
        ask.post("/models/mnist/reload", nothing, sec_fetch_site="same-origin", origin="https://evil.example")
        ask.ask("POST", "/models/mnist/reload", host="evil.example")
        ask.ask("POST", "/models/mnist/reload", host="127.0.0.1:8000")
        ask.ask("POST", "/models/mnist/reload", host=None)
