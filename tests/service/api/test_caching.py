"""Cache-Control and Vary: what a cache may keep is the same when it is asked again, and for whom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Answer, Caller

from model_store import ModelStore
from service.api import known_answers
from service.api.endpoint import Endpoint
from service.api.known_answers import KnownAnswers
from service.app import create_app
from service.codecs import png_writer
from service.engine import TooBusy
from service.http import caching
from service.security.api_keys import new_key
from service.settings import Settings

YEAR = "max-age=31536000, immutable"
FOR_ALL = f"public, {YEAR}"
KEY, ENTRY = new_key("use", "phone-app")


def varies_by(answer: Answer) -> set[str]:
    return {name.strip().lower() for name in answer.headers.get("vary", "").split(",")} - {""}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/sample?seed=7&model=mnist@1", FOR_ALL),
        ("/sample.png?seed=7&model=mnist@1&scale=2", FOR_ALL),
        ("/sample.npy?seed=7&model=mnist@2&n=100", FOR_ALL),
        ("/traverse?model=mnist@1", FOR_ALL),
        ("/traverse.txt?model=mnist@1&dims=1", FOR_ALL),
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


def test_what_may_be_kept_without_asking_is_the_same_again(api: Caller) -> None:
    for target in (
        "/sample?seed=7&model=mnist@1",
        "/sample.png?seed=7&model=mnist@1",
        "/traverse?model=mnist@1",
    ):
        assert api.get(target).headers["cache-control"] == FOR_ALL
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


def test_every_format_of_one_address_varies_by_the_same(api: Caller) -> None:
    """nginx keeps several answers of one address only while their Vary is the same."""
    for accept in ("*/*", "image/png", "application/x-npy"):
        assert varies_by(api.get("/sample?seed=7", {"accept": accept})) == {"accept", "accept-encoding"}


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
        ("/sample?seed=7&model=mnist@1", f"private, {YEAR}"),
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


@pytest.mark.parametrize(
    "target", ["/sample.png?seed=7&model=mnist@1", "/traverse?model=mnist@1", "/models/mnist@1"]
)
def test_answer_to_a_request_with_somebody_else_s_key_is_not_public(api: Caller, target: str) -> None:
    """A proxy may ask for it, and a cache in front of that would answer without (RFC 9111, 3.5)."""
    for scheme in ("Bearer abc", "Basic YTpi"):
        first = api.get(target, {"authorization": scheme})
        assert "public" not in first.headers["cache-control"]
        if "etag" in first.headers:
            assert first.headers["cache-control"] == f"private, {YEAR}"
            assert "authorization" in varies_by(first)
            again = api.get(target, {"authorization": scheme, "if-none-match": first.headers["etag"]})
            assert (again.status, again.headers["cache-control"]) == (304, f"private, {YEAR}")


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
def test_each_304_is_as_the_first(api: Caller, target: str) -> None:
    """The later ones are remembered; only the tag is that of each client."""
    etag = api.get(target).headers["etag"]
    of_one_request = ("x-request-id", "server-timing")
    answers = [api.get(target, {"if-none-match": sent}) for sent in (etag, etag, f"W/{etag}", "*", etag)]
    found = [{k: v for k, v in answer.headers.items() if k not in of_one_request} for answer in answers]
    assert {answer.status for answer in answers} == {304}
    assert found[0] == found[1] == found[3] == found[4] == {**found[2], "etag": etag}
    assert found[2]["etag"] == f"W/{etag}"
    with_key = api.get(target, {"if-none-match": etag, "authorization": "Basic YTpi"})
    assert with_key.headers["cache-control"].startswith("private, ")


def test_alias_that_moves_has_another_answer_at_once(tiny_store: Path, tmp_path: Path) -> None:
    store = ModelStore(shutil.copytree(tiny_store, tmp_path / "models"))
    with Caller(create_app(Settings(model_store=store.root, threads=1))) as caller:
        for version in (1, 2, 1):
            store.promote("mnist", "stable", version)
            caller.app.state.app_state.load_all()
            first = caller.get("/traverse?model=mnist@stable")
            assert first.headers["x-model"] == f"mnist@{version}"
            known = {"if-none-match": first.headers["etag"]}
            assert [caller.get("/traverse?model=mnist@stable", known).status for _ in range(3)] == [304] * 3
            other = {"if-none-match": caller.get(f"/traverse?model=mnist@{3 - version}").headers["etag"]}
            assert caller.get("/traverse?model=mnist@stable", other).body == first.body


def test_remembered_answers_are_bounded(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_answers, "_MOST", 8)
    sizes = []
    add = KnownAnswers.add

    def note(self: KnownAnswers, *rest: Any) -> None:
        add(self, *rest)
        sizes.append(len(self._answers))

    monkeypatch.setattr(KnownAnswers, "add", note)
    for seed in range(20):
        assert api.get(f"/sample?seed={seed}", {"if-none-match": "*"}).status == 304
    assert len(sizes) == 20
    assert max(sizes) <= 8
    long = {"if-none-match": "*", "accept": "application/json" + ", text/plain;q=0.1" * 40}
    before = len(sizes)
    assert api.get("/sample?seed=99", long).status == 304
    assert sizes[before:] == sizes[before - 1 : before]  # it is not remembered


@pytest.mark.parametrize("target", COMPUTED)
def test_client_that_has_the_answer_receives_304_while_the_queue_is_full(
    api: Caller, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no room there. Refused, it would ask again and again, and keep the server busy with that."""
    etag = api.get(target).headers["etag"]

    def refuse() -> None:
        raise TooBusy(1)

    monkeypatch.setattr(api.app.state.app_state.worker_pool, "refuse_when_full", refuse)
    assert api.get(target).code == "too-busy"
    assert api.get(target, {"if-none-match": '"another"'}).code == "too-busy"
    assert api.get(target, {"if-none-match": etag}).status == 304


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("invalid-parameter", "/sample?seed=7&n=0"),
        ("invalid-parameter", "/sample?seed=7&model=mnist@1&sed=8"),
        ("unknown-model", "/sample?seed=7&model=mnist@9"),
        ("no-prior", "/sample?seed=7&model=plain@1"),
        ("invalid-value", "/traverse.png?dims=0,1&steps=8&scale=64&model=mnist@1"),
        ("form-not-available", "/traverse.gif"),
    ],
)
def test_request_that_would_fail_fails_whatever_its_client_has(api: Caller, target: str, code: str) -> None:
    answer = api.get(target, {"if-none-match": "*"})
    assert answer.code == code
    assert answer.headers["cache-control"] == "no-store"


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


@pytest.mark.parametrize(
    "same",
    [
        (
            "/sample?seed=7",
            "/sample?seed=7&n=1",
            "/sample.json?n=1&seed=7&temperature=1",
            "/sample?&seed=%37&temperature=1.0&prior=standard&",
            "/sample?seed=7&model=mnist",
            "/sample?seed=7&model=mnist@1",
            "/sample?seed=7&model=mnist%40stable",
            "/sample?seed=7&scale=3&columns=2&quality=9",
        ),
        (
            "/traverse.txt",
            "/traverse.txt?steps=5&dims=0,1&spacing=quantile&span=2",
            "/traverse.txt?columns=5",
        ),
        ("/sample.png?seed=7&n=4", "/sample.png?n=4&seed=7&scale=1"),
    ],
    ids=lambda same: same[0],
)
def test_requests_that_mean_the_same_have_the_same_etag_and_bytes(api: Caller, same: tuple[str, ...]) -> None:
    answers = [api.get(target) for target in same]
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1


def test_left_out_number_of_images_is_part_of_the_etag(tiny_store: Path) -> None:
    """As text it is 10, or fewer where the server allows fewer: the same query, other bytes."""
    found = {}
    for most in (4, 64):
        settings = Settings(model_store=tiny_store, threads=1, max_images=most)
        with Caller(create_app(settings)) as caller:
            for target in ("/sample.txt?seed=7", "/traverse.png"):
                answer = caller.get(target)
                found[answer.headers["etag"]] = answer.body
    assert len(set(found.values())) == len(found) == 4


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


def test_other_writer_of_files_has_other_etags(monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib-ng writes the same pixels as another PNG, with the same releases of all Python packages."""
    before = caching.computed_etag(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(png_writer, "_COMPRESS_LEVEL", 6)
        caching._writers.cache_clear()
        assert caching.computed_etag(b"one") != before
    caching._writers.cache_clear()
    assert caching.computed_etag(b"one") == before


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
