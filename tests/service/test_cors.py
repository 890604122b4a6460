"""Pages of other origins: kept out unless the operator lets them in, and told so as any other error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Answer, Caller

from service.api_keys import new_key
from service.app import create_app
from service.openapi import EXPOSED_HEADERS
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
    assert (ask(api, PAGE).status, ask(api, PAGE).code) == (405, "method-not-allowed")


def test_allowed_page_may_ask_without_a_key_and_learns_what_it_may_send(shared: Caller) -> None:
    answer = ask(shared, PAGE)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://other.example", "POST", "content-type"),
        ("https://page.example.evil", "POST", "content-type"),
        ("http://page.example", "POST", "content-type"),
        ("null", "POST", "content-type"),
        (PAGE, "DELETE", "content-type"),
        (PAGE, "POST", "x-other"),
        (PAGE, "POST", "\xff" * 100),
    ],
)
def test_what_is_not_allowed_is_a_problem_without_permission(
    shared: Caller, origin: str, method: str, headers: str
) -> None:
    answer = ask(shared, origin, method, headers)
    assert (answer.status, answer.code) == (403, "origin-not-allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert "evil" not in answer.body.decode()


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


def test_every_page_of_html_has_a_policy_and_cannot_be_framed(api: Caller) -> None:
    pages = 0
    for route in api.app.router.routes:
        if "GET" not in route.methods or "{" in route.path:
            continue
        answer = api.get(route.path)
        if "html" not in answer.headers["content-type"]:
            continue
        pages += 1
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert pages >= 1
