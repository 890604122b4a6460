"""Cache-Control and Vary: what a cache may keep is the same when it is asked again, and for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Answer, Caller

from service.api.endpoint import Endpoint
from service.app import create_app
from service.http import caching
from service.security.api_keys import new_key
from service.settings import Settings

HOUR = "max-age=3600"
KEY, ENTRY = new_key("use", "phone-app")


def varies_by(answer: Answer) -> set[str]:
    return {name.strip().lower() for name in answer.headers.get("vary", "").split(",")} - {""}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/sample?seed=7&model=mnist@1", HOUR),
        ("/sample.png?seed=7&model=mnist@1&scale=2", HOUR),
        ("/sample.npy?seed=7&model=mnist@2&n=100", HOUR),
        ("/traverse?model=mnist@1", HOUR),
        ("/traverse.txt?model=mnist@1&dims=1", HOUR),
        ("/sample?seed=7", "no-cache"),
        ("/sample?seed=7&model=mnist", "no-cache"),
        ("/sample.png?seed=7&model=mnist@stable", "no-cache"),
        ("/traverse", "no-cache"),
        ("/sample", "no-store"),
        ("/sample.png?model=mnist@1", "no-store"),
        ("/", "no-cache"),
        ("/docs", "no-cache"),
        ("/docs/swagger-ui.css", "public, max-age=86400"),
        ("/openapi.json", "no-cache"),
        ("/models", "no-cache"),
        ("/models/mnist@1", "no-cache"),
        ("/limits", "no-cache"),
        ("/problems", "no-cache"),
        ("/problems/too-busy", "no-cache"),
        ("/livez", "no-store"),
        ("/readyz", "no-store"),
        ("/metrics", "no-store"),
        ("/nowhere", "no-store"),
        ("/sample?seed=7&model=mnist@1&n=0", "no-store"),
        ("/sample?seed=7&model=mnist@9", "no-store"),
    ],
)
def test_only_what_stays_the_same_may_be_kept(api: Caller, target: str, expected: str) -> None:
    for method in ("GET", "HEAD"):
        answer = api.call(method, target)
        assert answer.headers["cache-control"] == expected
        assert "public" not in expected or target.startswith("/docs/")


def test_what_may_be_kept_without_asking_is_the_same_again(api: Caller) -> None:
    for target in (
        "/sample?seed=7&model=mnist@1",
        "/sample.png?seed=7&model=mnist@1",
        "/traverse?model=mnist@1",
    ):
        assert api.get(target).headers["cache-control"] == HOUR
        assert api.get(target).body == api.get(target).body


def test_answer_to_post_is_never_kept(api: Caller) -> None:
    answer = api.post_json("/sample?model=mnist@1", {"n": 1, "seed": 7})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("/sample?seed=7", {"accept", "accept-encoding"}),
        ("/sample.json?seed=7", {"accept-encoding"}),
        ("/sample.txt?seed=7", {"accept-encoding"}),
        ("/sample.png?seed=7", set()),
        ("/sample.npy?seed=7", set()),
        ("/sample.npz?seed=7", set()),
        ("/models", {"accept-encoding"}),
        ("/docs/swagger-ui.css", {"accept-encoding"}),
        ("/problems", {"accept", "accept-encoding"}),
        ("/favicon.ico", set()),
    ],
)
def test_vary_names_what_decides_the_answer_and_no_more(api: Caller, target: str, names: set[str]) -> None:
    assert varies_by(api.get(target)) == names
    assert varies_by(api.call("HEAD", target)) == names


def test_format_by_accept_alone_varies_by_it(api: Caller) -> None:
    assert varies_by(api.get("/sample?seed=7", {"accept": "image/png"})) == {"accept"}


@pytest.fixture
def keyed(tiny_store: Path, tmp_path: Path) -> Iterator[Caller]:
    keys = tmp_path / "keys"
    keys.write_text(f"{ENTRY.line}\n")
    keys.chmod(0o600)
    settings = Settings(
        model_store=tiny_store, threads=1, api_keys_file=keys, cors_origins="https://a.example"
    )
    with Caller(create_app(settings)) as caller:
        yield caller


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/sample?seed=7&model=mnist@1", f"private, {HOUR}"),
        ("/sample?seed=7", "private, no-cache"),
        ("/models", "private, no-cache"),
        ("/sample", "no-store"),
    ],
)
def test_answer_that_a_key_opened_stays_in_its_caller_s_cache(
    keyed: Caller, target: str, expected: str
) -> None:
    """A cache shared by many would open it to all of them."""
    answer = keyed.get(target, {"authorization": f"Bearer {KEY}", "origin": "https://a.example"})
    assert answer.status == 200
    assert answer.headers["cache-control"] == expected
    assert "authorization" in varies_by(answer)
    assert "origin" in varies_by(answer)


def test_open_pages_do_not_vary_by_key(keyed: Caller) -> None:
    for target in ("/", "/docs", "/limits", "/problems", "/openapi.json", "/favicon.ico"):
        answer = keyed.get(target)
        assert answer.status == 200
        assert "authorization" not in varies_by(answer)
        assert "private" not in answer.headers["cache-control"]


COMPUTED = (
    "/traverse",
    "/traverse.png?dims=0,1&steps=4",
    "/traverse.txt?model=mnist@1",
    "/sample?seed=7",
    "/sample.png?seed=7&model=mnist@1&scale=2",
    "/sample.npy?seed=7&n=100",
    "/sample.npz?seed=7&n=40",
)


@pytest.mark.parametrize("target", COMPUTED)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_client_that_has_the_answer_receives_304_and_no_model_runs(
    api: Caller, target: str, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"accept-encoding": coding}
    first = api.get(target, asked)
    assert first.status == 200

    async def runs(*_: object) -> None:
        raise AssertionError("a model ran")

    monkeypatch.setattr(Endpoint, "_run", runs)
    for method in ("GET", "HEAD"):
        again = api.call(method, target, headers=asked | {"if-none-match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        # The weak tag of a packed answer as well: a strong one would fit nothing that the cache has.
        same = ("etag", "cache-control", "x-model")
        assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
        assert again.headers.get("x-seed") == first.headers.get("x-seed")
        assert varies_by(again) == varies_by(first)
        assert {"content-type", "content-length", "content-disposition"}.isdisjoint(again.headers)


@pytest.mark.parametrize("target", COMPUTED)
def test_etag_is_strong_and_of_head_too(api: Caller, target: str) -> None:
    answers = [api.call(method, target) for method in ("GET", "GET", "HEAD")]
    (etag,) = {answer.headers["etag"] for answer in answers}
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)


def test_another_answer_has_another_etag(api: Caller) -> None:
    targets = (
        *COMPUTED,
        "/traverse?model=mnist@2",
        "/traverse?dims=1,0",
        "/traverse.png?dims=0,1&steps=4&scale=2",
        "/sample?seed=8",
        "/sample.txt?seed=7",
    )
    assert len({api.get(target).headers["etag"] for target in targets}) == len(targets)
    by_accept = api.get("/traverse", {"accept": "image/png"}).headers["etag"]
    assert by_accept != api.get("/traverse").headers["etag"]


def test_new_release_or_runtime_has_other_etags(monkeypatch: pytest.MonkeyPatch) -> None:
    before = caching.computed_etag(b"one", b"two")
    assert caching.computed_etag(b"onet", b"wo") != before
    for changed in ("vae-service", "onnxruntime", "pillow"):
        caching._writers.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(caching, "version", lambda name, changed=changed: "9" if name == changed else "1")
            assert caching.computed_etag(b"one", b"two") != before
    caching._writers.cache_clear()
    assert caching.computed_etag(b"one", b"two") == before


@pytest.mark.parametrize("target", ["/sample", "/traverse?steps=0", "/traverse?model=mnist@9", "/nowhere"])
def test_what_is_never_kept_has_no_etag(api: Caller, target: str) -> None:
    for sent in ("*", '"0"'):
        answer = api.get(target, {"if-none-match": sent})
        assert answer.status != 304
        assert "etag" not in answer.headers


def test_answer_to_post_has_no_etag(api: Caller) -> None:
    assert "etag" not in api.post_json("/sample?model=mnist@1", {"n": 1, "seed": 7}).headers


def test_any_answer_will_do_for_an_asterisk(api: Caller) -> None:
    """RFC 9110, section 13.1.2: the condition fails if there is any answer."""
    assert api.get("/traverse", {"if-none-match": "*"}).status == 304
