"""Behind a proxy that adds a path, every link leads back through it, whether it strips the path or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
from http_calls import Answer, Caller
from server_process import raw_answer, serving

from service.app import create_app
from service.http.addresses import TrustedProxies
from service.http.connection import SCOPE_KEY, Connection
from service.http.public_address import PublicAddress
from service.security.api_keys import new_key
from service.settings import Settings, SettingsError, load_settings


@pytest.fixture(scope="module")
def rooted(tiny_store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, root_path="/vae/"))) as caller:
        yield caller


@pytest.fixture(scope="module")
def proxied(tiny_store: Path) -> Iterator[Caller]:
    """Believes a proxy at 10.0.0.1; the setting says what holds where the proxy says nothing."""
    settings = Settings(model_store=tiny_store, threads=1, trusted_proxies="10.0.0.1", root_path="/set")
    with Caller(create_app(settings)) as caller:
        yield caller


def through(api: Caller, target: str, *, peer: str = "10.0.0.1", **headers: str) -> Answer:
    """A GET that came on a connection from `peer`."""
    connection = Connection()
    connection.peer = peer
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: Answer = api.run(api.acall("GET", target, headers=sent, extensions={SCOPE_KEY: connection}))
    return answer


def test_without_a_prefix_the_document_leads_to_where_it_came_from(api: Caller) -> None:
    """Also behind a proxy that says nothing: "Try it out" calls the server that the page was loaded from."""
    (server,) = api.get("/openapi.json").json()["servers"]
    assert urljoin("https://h.example/vae/openapi.json", server["url"]) == "https://h.example/vae/"
    assert urljoin("http://localhost:8000/openapi.json", server["url"]) == "http://localhost:8000/"


@pytest.mark.parametrize("stripped", [True, False])
def test_every_link_begins_with_the_root_path(rooted: Caller, stripped: bool) -> None:
    before = "" if stripped else "/vae"
    assert rooted.get(f"{before}/openapi.json").json()["servers"] == [{"url": "/vae"}]
    help_text = rooted.get(before or "/").body.decode()
    assert rooted.get(f"{before}/").body.decode() == help_text
    addresses = re.findall(r"http://localhost:8000(/[a-z]*)", help_text)
    assert len(addresses) > 20
    assert set(addresses) == {"/vae"}
    unknown = rooted.get(f"{before}/models/none").json()
    assert unknown["type"] == "/vae/problems/unknown-model"
    assert "GET /vae/models lists" in unknown["remedy"]
    assert "GET /vae/models lists" in unknown["detail"]
    assert "GET /vae/models lists" in unknown["errors"][0]["remedy"]
    assert rooted.get(unknown["type"] if not stripped else "/problems/unknown-model").json() == {
        "code": "unknown-model", "status": 404, "title": unknown["title"], "remedy": unknown["remedy"],
    }  # fmt: skip
    refused = rooted.post(f"{before}/encode", b"x", "text/plain").json()
    assert "http://localhost:8000/vae/encode" in refused["errors"][0]["remedy"]
    wrong = rooted.call("PUT", f"{before}/sample").json()
    assert wrong["errors"][0]["remedy"] == "GET /vae/ lists working commands."
    page = rooted.get(f"{before}/docs").body.decode()
    assert not re.search(r"""(?:src|href|url)[=:]['"]/""", page)  # relative to the page
    for path in (
        "/sample",
        "/sample.txt",
        "/livez",
        "/readyz",
        "/metrics",
        "/limits",
        "/docs/swagger-ui.css",
    ):
        assert rooted.get(before + path).status == 200, path


def test_no_text_for_people_names_a_path_that_no_prefix_reaches(rooted: Caller) -> None:
    """A path of this server follows a method; the rest may be files, such as a store in /models."""
    texts = [rooted.get("/problems").body.decode()]
    texts += [
        row["remedy"] for row in rooted.get("/problems", {"accept": "application/json"}).json()["problems"]
    ]
    document = rooted.get("/openapi.json").json()
    problems = [one for one in document["components"]["examples"].values() if "remedy" in one["value"]]
    assert len(problems) > 20
    for example in problems:
        assert example["value"]["type"].startswith("/vae/problems/")
        texts.append(example["value"]["remedy"])
    own = "|".join(sorted({path.split("/")[1].partition(".")[0] for path in document["paths"]} - {""}))
    for text in texts:
        assert not re.search(rf"(?<![a-z])/(?:{own})\b", text.replace("/vae/", "")), text
        assert "GET / " not in text


def test_path_that_only_looks_like_the_prefix_is_not_it(rooted: Caller) -> None:
    for path in ("/vaes", "/vaesample", "/vae/vae/sample", "//vae/sample", "/VAE/sample", "/sample/vae"):
        assert rooted.get(path).status == 404, path


def test_keys_are_required_behind_a_prefix_too(tiny_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(new_key()[1].line)
    path.chmod(0o600)
    settings = Settings(model_store=tiny_store, threads=1, root_path="/vae", api_keys_file=path)
    with Caller(create_app(settings)) as api:
        for before in ("", "/vae"):
            assert api.get(f"{before}/sample").code == "missing-key"
            assert api.get(f"{before}/readyz").status == 200
        for path_ in ("/livez/../sample", "/vae/livez/vae/sample", "/livez/vae/sample"):
            assert api.get(path_).code == "missing-key"


@pytest.mark.parametrize(
    ("sent", "prefix"),
    [
        ("/vae", "/vae"), ("/vae/", "/vae"), ("/a, /b/c/", "/a/b/c"), ("/v1.2/x_y~z-0", "/v1.2/x_y~z-0"),
        ("", "/set"), ("/", "/set"), ("vae", "/set"), ("//other.example", "/set"), ("/a//b", "/set"),
        ("https://other.example", "/set"), ("/../x", "/set"), ("/a/..", "/set"), ("/a b", "/set"),
        ("/a'$(id)'", "/set"), ("/a\\b", "/set"), ("/a?b", "/set"), ("/%0d%0a", "/set"),
        ("/" + "a" * 2000, "/set"),
    ],
)  # fmt: skip
def test_prefix_of_a_trusted_proxy_is_taken_where_it_is_one(proxied: Caller, sent: str, prefix: str) -> None:
    """It goes into links and into commands that people paste."""
    document = through(proxied, "/openapi.json", x_forwarded_prefix=sent).json()
    assert document["servers"] == [{"url": prefix}]
    help_text = through(proxied, "/", x_forwarded_prefix=sent).body.decode()
    assert f"curl http://localhost:8000{prefix}/sample.txt\n" in help_text
    refused = through(proxied, "/nowhere", x_forwarded_prefix=sent)
    assert (refused.status, refused.json()["type"]) == (404, f"{prefix}/problems/unknown-path")


def test_header_of_anybody_else_is_not_believed(proxied: Caller, api: Caller) -> None:
    headers = {"x_forwarded_prefix": "/evil", "x_forwarded_host": "other.example"}
    for caller, peer, root in ((proxied, "10.0.0.2", "/set"), (api, "10.0.0.1", ""), (api, "127.0.0.1", "")):
        help_text = through(caller, "/", peer=peer, **headers).body.decode()
        assert f"curl http://localhost:8000{root}/sample.txt\n" in help_text
        assert "evil" not in help_text
        assert "other.example" not in help_text


def test_host_that_a_trusted_proxy_was_called_by_is_in_the_links(proxied: Caller) -> None:
    def first_command(host: str) -> str:
        text = through(proxied, "/", x_forwarded_host=host, x_forwarded_prefix="/vae").body.decode()
        return next(line for line in text.splitlines() if "curl" in line)

    assert first_command("h.example") == "  curl http://h.example/vae/sample.txt"
    assert first_command("h.example:8443, inner") == "  curl http://h.example:8443/vae/sample.txt"
    assert first_command("a b'$(id)'") == "  curl http://localhost:8000/vae/sample.txt"


def test_proxy_over_ipv4_is_known_on_an_ipv6_socket() -> None:
    address = PublicAddress(trusted=TrustedProxies("127.0.0.1, 10.0.0.0/8, 2001:db8::1"))
    sent = [(b"x-forwarded-prefix", b"/vae")]
    for peer in ("127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "2001:db8::1"):
        assert address.prefix(sent, peer=peer) == "/vae"
    for peer in ("127.0.0.2", "::ffff:11.0.0.1", "2001:db8::2", "", None):
        assert address.prefix(sent, peer=peer) == ""


@pytest.mark.parametrize(
    "value", ["vae", "//vae", "/a//b", "/..", "/.hidden", "/a b", "/ä", "https://h/vae", "/%2e"]
)
def test_what_is_no_root_path_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="VAE_ROOT_PATH: Expected a path such as /vae"):
        load_settings({}, environ={"VAE_ROOT_PATH": value})


@pytest.mark.parametrize(
    ("value", "taken"), [("/vae", "/vae"), ("/vae/", "/vae"), ("/", ""), ("/team/vae-2.0", "/team/vae-2.0")]
)
def test_root_paths_are_taken(value: str, taken: str) -> None:
    assert load_settings({}, environ={"VAE_ROOT_PATH": value}).root_path == taken


@pytest.mark.parametrize("value", ["/models", "/docs/vae", "/sample.v1"])
def test_root_path_that_may_be_one_of_ours_is_refused(tiny_store: Path, value: str) -> None:
    """`/models/x` is a model behind a proxy that strips, the root behind one that does not."""
    with pytest.raises(SettingsError, match=r"VAE_ROOT_PATH: expected a first part .* Taken are .*models"):
        create_app(Settings(model_store=tiny_store, threads=1, root_path=value))


def test_what_never_became_a_request_has_the_prefix_too(tiny_store: Path, tmp_path: Path) -> None:
    arguments = ("--trusted-proxies", "127.0.0.1", "--root-path", "/vae")
    with serving(tiny_store, tmp_path / "log", *arguments) as running:
        for line, prefix in ((b"", "/vae"), (b"X-Forwarded-Prefix: /told\r\n", "/told")):
            request = b"GET / HTTP/1.1\r\n" + line + b"Host: a\r\nno header\r\n\r\n"
            head, body = raw_answer(running, request)
            assert head.startswith(b"HTTP/1.1 400 ")
            assert json.loads(body)["type"] == f"{prefix}/problems/malformed-request"
        assert running.stop() == 0


BROKEN = (b"/vae\r\n evil: 1", b"/vae\n evil: 1", b"/vae\revil: 1", b"/vae\x00evil", b"/vae\tevil")


def test_line_break_in_the_header_begins_no_other_header(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "log", "--trusted-proxies", "127.0.0.1") as running:
        for value in (
            b"/vae\r\n evil: 1",
            b"/vae\n evil: 1",
            b"/vae\revil: 1",
            b"/vae\x00evil",
            b"/vae\tevil",
        ):
            for path in (b"/docs/", b"/nowhere", b"/"):
                request = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % path
                head, body = raw_answer(running, request + b"X-Forwarded-Prefix: " + value + b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 ")
                assert b"evil" not in head.lower() + body, value
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/vae/sample", "If a proxy added /vae, the operator of the server sets VAE_ROOT_PATH=/vae."),
        ("/a/b/models/mnist", "If a proxy added /a/b, the operator of the server sets VAE_ROOT_PATH=/a/b."),
        ("/nowhere", ""),
        ("/sample/more", ""),
        ("/models/mnist/sample", ""),
        ("/a/b/c/d/sample", ""),
        ("//sample", ""),
        ("/a b/sample", ""),
        ("/<script>/sample", ""),
        ("/" + "a" * 200 + "/sample", ""),
    ],
)
def test_unknown_path_has_the_likely_reason(api: Caller, path: str, hint: str) -> None:
    answer = api.get(quote(path))
    assert (answer.status, answer.code) == (404, "unknown-path")
    assert answer.json()["detail"] == f"No endpoint has this path. {hint}".rstrip()


def test_reason_is_no_setting_that_is_set(rooted: Caller) -> None:
    assert "ROOT_PATH" not in rooted.get("/vae/vae/sample").json()["detail"]


def test_docs_with_a_slash_lead_to_the_docs(api: Caller, rooted: Caller) -> None:
    for caller, path in ((api, "/docs/"), (rooted, "/docs/"), (rooted, "/vae/docs/")):
        answer = caller.get(path)
        assert (answer.status, answer.headers["location"]) == (307, "../docs")
        assert caller.get(urljoin(path, answer.headers["location"])).status == 200
