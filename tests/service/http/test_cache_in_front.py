"""nginx with deploy/nginx/cache.conf before the server: the same bytes, and none that may not be kept."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from nginx import Fetched, fetch, needs_nginx, nginx
from server_process import Running, serving

from service.security.api_keys import new_key

CONFIGURATION = Path(__file__).resolve().parents[3] / "deploy/nginx/cache.conf"
DIRECTORY = "/var/cache/nginx/vae"
KEPT = (
    "/sample.png?n=4&seed=7&model=mnist@1",
    "/sample?seed=7&model=mnist%401",
    "/sample.npy?model=mnist@2&n=100&seed=7",
    "/sample.txt?seed=8&model=mnist@1&n=5",
    "/sample.npz?seed=7&model=mnist@1",
    "/traverse.jpg?model=mnist@1&dims=1",
    "/traverse?model=plain@1",
)
PASSED_BY = (
    "/sample.png?seed=7",
    "/sample?seed=7&model=mnist",
    "/sample.png?seed=7&model=mnist@stable",
    "/traverse.png",
    "/models",
    "/livez",
    "/",
)
NEVER_STORED = (
    "/sample.png?model=mnist@1",
    "/sample.png?model=mnist@1&seed=7&n=0",
    "/sample?seed=7&model=mnist@9",
    "/sample?seed=7&model=mnist@1&model=mnist@1",
)
pytestmark = needs_nginx


class Site(NamedTuple):
    cached: str
    direct: str
    running: Running


def cache_in(home: Path) -> str:
    text = CONFIGURATION.read_text()
    assert DIRECTORY in text
    return text.replace(DIRECTORY, str(home / "cache"))


@contextlib.contextmanager
def site_of(store: Path, home: Path, *arguments: str) -> Iterator[Site]:
    with serving(store, home / "log", *arguments) as running:
        location = f"location / {{ proxy_pass http://127.0.0.1:{running.port}; }}"
        with nginx(home, location, http=cache_in(home)) as public:
            yield Site(public, f"http://127.0.0.1:{running.port}", running)


@pytest.fixture(scope="module")
def site(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_of(tiny_store, tmp_path_factory.mktemp("cache")) as site:
        yield site


def state(answer: Fetched) -> str | None:
    return answer.headers.get("x-cache")


@pytest.mark.parametrize("target", KEPT)
def test_answer_of_a_version_and_a_seed_comes_from_the_cache_with_the_same_bytes(
    site: Site, target: str
) -> None:
    direct = fetch(site.direct + target)
    first, again = fetch(site.cached + target), fetch(site.cached + target)
    assert (state(first), state(again)) == ("MISS", "HIT")
    assert direct.body == first.body == again.body
    for name in ("content-type", "etag", "cache-control", "x-model", "x-seed", "vary"):
        assert again.headers[name] == direct.headers[name], name


def test_client_of_the_cache_receives_304_from_it(site: Site) -> None:
    target = site.cached + "/sample.png?n=4&seed=78&model=mnist@1"
    etag = fetch(target).headers["etag"]
    again = fetch(target, if_none_match=etag)
    assert (again.status, again.body, state(again)) == (304, b"", "HIT")


def test_each_coding_and_format_is_stored_for_itself(site: Site) -> None:
    """One URL has several answers; a cache that did not compare them would send gzip to anybody."""
    target = "/sample?n=20&seed=9&model=mnist@1"
    plain = fetch(site.direct + target).body
    for _ in range(2):
        packed = fetch(site.cached + target, accept_encoding="gzip")
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain
        assert fetch(site.cached + target, accept_encoding="identity").body == plain
        picture = fetch(site.cached + target, accept="image/png")
        assert picture.body == fetch(site.direct + "/sample.png?n=20&seed=9&model=mnist@1").body
    assert state(packed) == state(picture) == "HIT"


@pytest.mark.parametrize("target", PASSED_BY)
def test_what_a_cache_must_ask_for_passes_it_by(site: Site, target: str) -> None:
    assert [state(fetch(site.cached + target)) for _ in range(2)] == [None, None]


def test_alias_is_answered_304_by_the_server_behind_the_cache(site: Site) -> None:
    """nginx withholds the condition wherever it caches, and every such request would run the model."""
    first = fetch(site.cached + "/traverse.png")
    again = fetch(site.cached + "/traverse.png", if_none_match=first.headers["etag"])
    assert (again.status, state(again)) == (304, None)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


@pytest.mark.parametrize("target", NEVER_STORED)
def test_random_draw_and_error_are_never_stored(site: Site, target: str) -> None:
    answers = [fetch(site.cached + target) for _ in range(2)]
    assert "HIT" not in map(state, answers)
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2


def test_answer_to_somebody_s_key_is_not_stored_for_all(site: Site) -> None:
    target = site.cached + "/sample.png?seed=77&model=mnist@1"
    answers = [fetch(target, authorization="Basic YTpi") for _ in range(2)]
    assert list(map(state, answers)) == ["MISS", "MISS"]


def test_server_with_keys_answers_each_request_itself(tiny_store: Path, tmp_path: Path) -> None:
    key, entry = new_key("use", "phone-app")
    keys = tmp_path / "keys"
    keys.write_text(f"{entry.line}\n")
    keys.chmod(0o600)
    with site_of(tiny_store, tmp_path, "--api-keys-file", str(keys)) as site:
        target = site.cached + KEPT[0]
        allowed = [fetch(target, authorization=f"Bearer {key}") for _ in range(2)]
        assert [(answer.status, state(answer)) for answer in allowed] == [(200, "MISS")] * 2
        assert fetch(target).status == 401
        assert site.running.stop() == 0


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_cache_still_answers_when_every_server_is_dead(tiny_store: Path, tmp_path: Path, coding: str) -> None:
    with site_of(tiny_store, tmp_path) as site:
        before = {target: fetch(site.cached + target, accept_encoding=coding) for target in KEPT}
        site.running.process.kill()
        site.running.process.wait()
        for target, answer in before.items():
            again = fetch(site.cached + target, accept_encoding=coding)
            assert (again.status, again.body) == (200, answer.body)
            assert state(again) == "HIT"
        assert fetch(site.cached + "/sample.png?seed=1000&model=mnist@1").status == 502
