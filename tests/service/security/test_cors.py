"""Pages of other origins: kept out unless the operator lets them in, and told so as any other error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from http_calls import Answer, Caller
from server_process import raw_answer, serving

from service.api.openapi.headers import EXPOSED_HEADERS
from service.app import create_app
from service.http.connection import SCOPE_KEY, Connection
from service.security.api_keys import new_key
from service.settings import Settings, SettingsError, load_settings

PAGE = "https://page.example"


@pytest.fixture(scope="module")
def shared(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Two origins are allowed, and keys are required."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(new_key()[1].line)
    keys.chmod(0o600)
    settings = Settings(
        model_store=tiny_store,
        threads=1,
        api_keys_file=keys,
        cors_origins=f"{PAGE}, http://localhost:3000",
    )
    with Caller(create_app(settings)) as caller:
        yield caller


def ask(
    api: Caller, origin: str, method: str = "POST", headers: str = "authorization,content-type"
) -> Answer:
    """A browser's question before the call itself."""
    asked = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    return api.call("OPTIONS", "/encode", headers=asked)


def test_no_page_is_let_in_unless_it_is_set(api: Caller) -> None:
    answer = api.get("/sample", {"origin": PAGE})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    refused = ask(api, PAGE)
    assert (refused.status, refused.code) == (403, "origin-not-allowed")
    assert refused.json()["detail"].startswith("VAE_CORS_ORIGINS is not set")
    assert not [name for name in refused.headers if name.startswith("access-control")]
    assert "Origin" in refused.headers["vary"]
    assert api.call("OPTIONS", "/encode", headers={"origin": PAGE}).status == 204, "asks for methods only"


def test_allowed_page_may_ask_without_a_key_and_learns_what_it_may_send(shared: Caller) -> None:
    answer = ask(shared, PAGE)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


NOT_LISTED = "VAE_CORS_ORIGINS does not contain the page's origin."


@pytest.mark.parametrize(
    ("origin", "method", "headers", "told"),
    [
        ("https://other.example", "POST", "content-type", NOT_LISTED),
        ("https://page.example.evil", "POST", "content-type", NOT_LISTED),
        ("http://page.example", "POST", "content-type", NOT_LISTED),
        ("null", "POST", "content-type", NOT_LISTED),
        (PAGE, "DELETE", "content-type", "may send GET, HEAD, POST, but not `DELETE`."),
        (PAGE, "POST", "x-other", "but not `x-other`."),
        (PAGE, "POST", "content-type,x-other", "but not `x-other`."),
        (PAGE, "POST", "\xff" * 100, "but not `"),
    ],
)
def test_what_is_not_allowed_is_a_problem_without_permission(
    shared: Caller, origin: str, method: str, headers: str, told: str
) -> None:
    """A browser makes no call after a refusal; a page that is allowed may read it."""
    answer = ask(shared, origin, method, headers)
    assert (answer.status, answer.code) == (403, "origin-not-allowed")
    assert told in answer.json()["detail"]
    assert ("access-control-allow-origin" in answer.headers) is (origin == PAGE)
    assert "access-control-allow-methods" not in answer.headers
    assert "access-control-allow-headers" not in answer.headers
    assert "evil" not in answer.body.decode()


@pytest.mark.parametrize(
    "headers",
    ["traceparent", "traceparent, tracestate,baggage", "Content-Type,TraceParent", "", " , accept,"],
)
def test_page_that_is_traced_may_send_the_headers_of_its_trace(shared: Caller, headers: str) -> None:
    """OpenTelemetry in a browser adds them to every call: refused, no call of such a page would be made."""
    answer = ask(shared, PAGE, headers=headers)
    assert answer.status == 204
    assert {"traceparent", "tracestate", "baggage"} <= set(
        answer.headers["access-control-allow-headers"].split(", ")
    )


def test_call_of_a_private_address_is_allowed_to_the_origins_that_are_named(
    shared: Caller, tiny_store: Path
) -> None:
    """Chromium asks so before a page from elsewhere calls a server on this machine or in this network."""
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-private-network": "true",
    }
    answer = shared.call("OPTIONS", "/encode", headers=asked)
    assert (answer.status, answer.headers["access-control-allow-private-network"]) == (204, "true")
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, cors_origins="*"))) as api:
        answer = api.call("OPTIONS", "/encode", headers=asked)
        assert answer.status == 204
        assert "access-control-allow-private-network" not in answer.headers


def test_page_may_read_our_headers_of_answers_and_of_errors(shared: Caller) -> None:
    answer = shared.get("/readyz", {"origin": "http://localhost:3000"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed == {name.lower() for name in EXPOSED_HEADERS}
    assert {
        "x-request-id",
        "x-model",
        "x-seed",
        "x-z",
        "x-prior",
        "x-label",
        "server-timing",
        "retry-after",
    } <= exposed
    refused = shared.get("/sample", {"origin": PAGE})
    assert (refused.status, refused.code) == (401, "missing-key")
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert (
        shared.get("/readyz", {"origin": "https://other.example"}).headers.get("access-control-allow-origin")
        is None
    )


def readable(headers: Mapping[str, str]) -> bool:
    """Whether the page may read an answer, its id and when to come back."""
    exposed = headers.get("access-control-expose-headers", "").lower()
    return (
        headers.get("access-control-allow-origin") == PAGE
        and "origin" in headers.get("vary", "").lower()
        and "x-request-id" in exposed
        and "retry-after" in exposed
    )


@pytest.fixture(scope="module")
def open_to_a_page(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1, cors_origins=PAGE, max_body_bytes=1024)
    with Caller(create_app(settings)) as caller:
        yield caller


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"),
    [
        ("GET", "/nowhere", {}, b"", 404),
        ("PUT", "/sample", {}, b"", 405),
        ("GET", "/sample", {"accept": "image/gif"}, b"", 406),
        ("POST", "/encode", {"content-type": "text/plain"}, b"x", 415),
        ("POST", "/encode", {"content-type": "application/json"}, b"{", 400),
        ("POST", "/encode", {"content-type": "application/json"}, b"x" * 2000, 413),
        ("POST", "/encode", {"content-type": "application/json"}, [b"x" * 700] * 3, 413),
        ("GET", "/sample?n=0", {}, b"", 422),
        ("POST", "/models/mnist/reload", {}, b"", 403),
        ("GET", "/sample.txt", {}, b"", 200),
        ("HEAD", "/sample.txt", {}, b"", 200),
    ],
)
def test_page_may_read_every_refusal(
    open_to_a_page: Caller,
    *,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes | list[bytes],
    status: int,
) -> None:
    """Otherwise it sees a failed network, and repeats a request that cannot succeed."""
    answer = open_to_a_page.call(method, target, headers={"origin": PAGE, **headers}, body=body)
    assert answer.status == status
    assert readable(answer.headers), answer.headers


def test_page_may_read_what_the_envelope_answers(
    open_to_a_page: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past every other middleware: a full server, a late body, an unexpected error, a server that stops."""
    api, sent = open_to_a_page, {"origin": PAGE}

    def call(target: str = "/sample", method: str = "GET", **rest: Any) -> Coroutine[Any, Any, Answer]:
        return api.acall(method, target, headers=sent, **rest)

    beyond = Connection()
    beyond.only_probes = True
    full = api.run(call(extensions={SCOPE_KEY: beyond}))
    assert (full.status, full.code, readable(full.headers)) == (429, "too-many-connections", True)

    slow = Connection()
    slow.timed_out = True
    late = api.run(call("/encode", "POST", body=[b"{", b""], leave_after=1, extensions={SCOPE_KEY: slow}))
    assert (late.status, late.code, readable(late.headers)) == (408, "receipt-timeout", True)

    with monkeypatch.context() as patched:
        patched.setattr(api.app.state.app_state.registry, "peek", lambda *_: 1 / 0)
        failed = api.run(call())
    assert (failed.status, failed.code, readable(failed.headers)) == (500, "internal-error", True)

    async def stopped() -> Answer:
        reached = asyncio.Event()

        async def never_whole() -> AsyncIterator[bytes]:
            yield b"{"
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(call("/encode", "POST", body=never_whole()))
        await reached.wait()
        task.cancel()
        return await task

    monkeypatch.setattr(api.app.state.app_state.lifecycle, "draining", True)
    last = api.run(stopped())
    assert (last.status, last.code, readable(last.headers)) == (503, "shutting-down", True)


def test_page_may_read_what_never_became_a_request(tiny_store: Path, tmp_path: Path) -> None:
    """The protocol answers these by itself."""
    origin = f"Origin: {PAGE}\r\nAccept: */*\r\n".encode()
    start = b"POST /encode HTTP/1.1\r\nHost: a\r\n"
    with serving(
        tiny_store,
        tmp_path / "log",
        "--cors-origins",
        f"{PAGE},https://b.example",
        "--receipt-timeout-s",
        "1",
    ) as running:
        for status, request in (
            (408, start + origin + b"X-Slow: "),
            (408, start + origin + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"),
            (400, start + origin + b"no header\r\n\r\n"),
            (431, start + origin + b"X-Long: " + b"x" * 900_000),
            (431, start + origin + b"X: y\r\n" * 30_000 + b"\r\n"),
        ):
            head, _ = raw_answer(running, request)
            line, *lines = head.decode().lower().split("\r\n")
            assert line.split()[1] == str(status)
            assert readable(dict(text.split(": ", 1) for text in lines)), head
            assert "cross-origin-resource-policy: cross-origin" in lines
        head, _ = raw_answer(running, start + b"Origin: https://other.example\r\nno header\r\n\r\n")
        assert b"access-control" not in head.lower()
        assert running.stop() == 0


def test_page_may_read_a_refusal_of_a_head_that_ended_before_its_origin(
    tiny_store: Path, tmp_path: Path
) -> None:
    """Chromium sends the page's own headers, such as a huge one, before Origin."""
    request = b"GET /sample HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 900_000
    for origins, permitted in ((PAGE, PAGE), ("*", "*"), (f"{PAGE},https://b.example", None)):
        with serving(tiny_store, tmp_path / "log", "--cors-origins", origins) as running:
            head, _ = raw_answer(running, request)
            line, *lines = head.decode().lower().split("\r\n")
            assert line.split()[1] == "431"
            headers = dict(text.split(": ", 1) for text in lines)
            assert headers.get("access-control-allow-origin") == permitted
            assert running.stop() == 0


def test_all_origins_may_be_allowed_by_name(tiny_store: Path) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, cors_origins="*"))) as api:
        answer = api.get("/sample", {"origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Accept" in answer.headers["vary"]
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert ask(api, "https://anything.example").headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "value",
    [
        "*,https://a.example", "a.example", "https://a.example/", "https://a.example/x", "null", "https://",
        "HTTPS://a.example", "https://A.example", "https://*.example", "ftp://a.example", "https://a.example:x",
        "https://a.example,", ",", "https://a b", "https://u@a.example",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="VAE_CORS_ORIGINS: Expected origins such as"):
        load_settings({}, environ={"VAE_CORS_ORIGINS": value})


@pytest.mark.parametrize(
    "value", ["*", "https://a.example", "http://[::1]:3000", "http://127.0.0.1:1,https://b"]
)
def test_origins_are_taken(value: str) -> None:
    assert load_settings({}, environ={"VAE_CORS_ORIGINS": value}).cors_origins == value


def test_every_answer_says_that_it_is_what_it_says_and_for_whom(api: Caller) -> None:
    for path in ("/sample", "/sample.png", "/docs", "/docs/swagger-ui-bundle.js", "/nowhere", "/livez"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-site"


@pytest.mark.parametrize("origins", [PAGE, f"{PAGE},http://localhost:3000", "*"])
def test_pictures_can_be_embedded_where_other_origins_are_allowed(tiny_store: Path, origins: str) -> None:
    """The request of an <img> names no origin, and the policy none either: the image was blocked."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, cors_origins=origins))) as api:
        for path in ("/sample.png", "/sample", "/nowhere", "/livez"):
            headers = api.get(path, {"sec-fetch-mode": "no-cors", "sec-fetch-site": "cross-site"}).headers
            assert headers["cross-origin-resource-policy"] == "cross-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert not [name for name in headers if name.startswith("access-control")]


def test_every_page_of_html_has_a_policy_and_cannot_be_framed(api: Caller) -> None:
    pages = 0
    for route in api.app.router.routes:
        if "GET" not in route.methods or "{" in route.path:
            continue
        answer = api.get(route.path)
        if "html" not in answer.headers.get("content-type", ""):
            continue
        pages += 1
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert pages >= 1
