"""HEAD: what GET would say, without the work of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Caller
from server_process import Running, raw_answer

from service.app import create_app
from service.settings import Settings

#: Headers of an answer that differ from request to request.
OF_ONE_REQUEST = {"x-request-id", "server-timing"}


@pytest.fixture
def own(tiny_store: Path) -> Iterator[Caller]:
    """An application of this test alone, whose models nobody else runs."""
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_images=64))) as caller:
        yield caller


def runs(api: Caller) -> int:
    """Batches that the models of this application have run since their start."""
    lines = api.get("/metrics").body.decode().splitlines()
    counts = [line.rpartition(" ")[2] for line in lines if line.startswith("vae_model_runs_total{")]
    return int(sum(map(float, counts)))


TARGETS = [
    "/sample?seed=7",
    "/sample.npy?n=3&seed=7",
    "/sample.npy?n=20000&seed=7",
    "/sample.npz?n=3&seed=7&temperature=0.5",
    "/sample.png?n=9&seed=7&scale=2",
    "/sample.txt?seed=7",
    "/sample.npy?n=2&seed=7&model=mnist@2",
    "/sample?seed=7&prior=standard&model=colour",
    "/traverse",
    "/traverse.npy?steps=3&dims=2",
    "/traverse.png?steps=8&dims=0,1",
]


@pytest.mark.parametrize("target", TARGETS)
def test_head_has_the_headers_of_get_and_runs_no_model(own: Caller, target: str) -> None:
    head = own.call("HEAD", target)
    assert (head.status, head.body) == (200, b"")
    assert runs(own) == 0
    whole = own.get(target)
    assert runs(own) > 0
    told = {name: value for name, value in head.headers.items() if name not in OF_ONE_REQUEST}
    assert told.items() <= whole.headers.items()
    left_out = whole.headers.keys() - head.headers.keys()
    is_npy = target.partition("?")[0].endswith(".npy")
    assert left_out <= ({"x-z"} if is_npy else {"x-z", "content-length"})
    assert ("content-length" in head.headers) == is_npy


def test_head_by_accept_is_get_by_accept(own: Caller) -> None:
    head = own.call("HEAD", "/sample?n=2", headers={"accept": "application/x-npy"})
    whole = own.get("/sample?n=2", {"accept": "application/x-npy"})
    assert head.headers["content-type"] == "application/x-npy"
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_head_without_a_seed_names_none(own: Caller) -> None:
    """GET draws its own, so one told here would lead to other images."""
    assert "x-seed" not in own.call("HEAD", "/sample").headers


@pytest.mark.parametrize(
    "target",
    [
        "/sample?n=0",
        "/sample?n=65",
        "/sample.npy?n=100000",
        "/sample?n=x",
        "/sample?seed=-1",
        "/sample?temperature=11",
        "/sample?prior=fitted",
        "/sample?label=3",
        "/sample?model=none",
        "/sample?model=plain",
        "/sample.gif",
        "/sample?nonsense=1",
        "/sample.png?n=64&scale=64",
        "/traverse?steps=1",
        "/traverse?steps=9&dims=0,1",
        "/traverse?dims=8",
        "/traverse?span=99",
        "/traverse?model=plain&spacing=quantile",
        "/traverse.png?steps=8&scale=64",
    ],
)
def test_head_refuses_what_get_refuses(own: Caller, target: str) -> None:
    head = own.call("HEAD", target)
    assert runs(own) == 0
    whole = own.get(target)
    assert head.status == whole.status >= 400
    assert head.code == whole.code


@pytest.mark.parametrize("path", ["/encode", "/decode", "/reconstruct", "/interpolate", "/score"])
def test_path_without_get_has_no_head(own: Caller, path: str) -> None:
    assert own.call("HEAD", path).status == 405


@pytest.mark.parametrize("path", ["/", "/docs", "/models", "/models/mnist", "/limits", "/problems", "/livez"])
def test_document_has_its_length_in_both(own: Caller, path: str) -> None:
    head, whole = own.call("HEAD", path), own.get(path)
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))


def test_head_counts_no_images(own: Caller) -> None:
    own.call("HEAD", "/sample.npy?n=20000")
    text = own.get("/metrics").body.decode()
    assert 'vae_http_requests_total{method="HEAD",route="/sample",status="200"} 1.0' in text
    assert "vae_request_images_count{" not in text


@pytest.mark.parametrize("target", [b"/sample.npy?n=20000&seed=7", b"/sample.png", b"/models", b"/nowhere"])
def test_connection_goes_on_after_head(server: Running, target: bytes) -> None:
    """Not one byte of a body comes, or it would be taken for the next answer."""
    head = b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n" % target
    first, rest = raw_answer(server, head, b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 404 " if target == b"/nowhere" else b"HTTP/1.1 200 ")
    assert b"\r\ntransfer-encoding:" not in first
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b'{"status":"alive"}\n')
