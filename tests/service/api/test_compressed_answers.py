"""gzip over the whole application: the same answers, shorter, for clients that accept it."""

from __future__ import annotations

import gzip
import http.client
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Answer, Caller
from server_process import Running, raw_answer

from service.app import create_app
from service.http.compression import MIN_BYTES
from service.settings import Settings

GZIP = {"accept-encoding": "gzip, deflate, br"}
IMAGE = [[0.5] * 28] * 28
#: Longer than `MIN_BYTES`, and of a type that is packed.
TEXTS = [
    "/sample?n=64&seed=7",
    "/sample.txt?n=10&seed=7",
    "/limits",
    "/problems",
    "/openapi.json",
    "/docs/swagger-ui-bundle.js",
    "/",
    "/metrics",
]


def packed(answer: Answer) -> bool:
    return answer.headers.get("content-encoding") == "gzip"


@pytest.mark.parametrize("target", TEXTS)
def test_text_is_packed_for_whoever_accepts_it_and_is_the_same(api: Caller, target: str) -> None:
    plain, short = api.get(target), api.get(target, GZIP)
    assert packed(short)
    assert not packed(plain)
    assert short.headers["content-length"] == str(len(short.body))
    assert len(short.body) < len(plain.body)
    for answer in (plain, short):
        assert "accept-encoding" in answer.headers["vary"].lower()
    if target not in ("/metrics",):
        assert gzip.decompress(short.body) == plain.body
    assert short.headers.get("etag", "").removeprefix("W/") == plain.headers.get("etag", "")
    of_one_request = {"content-length", "content-encoding", "x-request-id", "server-timing", "etag"}
    assert {k: v for k, v in plain.headers.items() if k not in of_one_request} == {
        k: v for k, v in short.headers.items() if k not in of_one_request
    }


def test_answer_to_post_is_packed(api: Caller) -> None:
    body = b'{"n": 8, "seed": 7}'
    plain, short = api.post("/sample", body), api.post("/sample", body, headers=GZIP)
    assert packed(short)
    assert gzip.decompress(short.body) == plain.body


@pytest.mark.parametrize("target", ["/sample.png?n=64&seed=7&scale=4", "/sample.npy?n=64&seed=7"])
def test_picture_and_arrays_are_never_packed(api: Caller, target: str) -> None:
    plain, asked = api.get(target), api.get(target, GZIP)
    assert not packed(asked)
    assert asked.body == plain.body
    assert "accept-encoding" not in asked.headers.get("vary", "").lower()


def test_npz_and_streamed_npy_are_never_packed(api: Caller) -> None:
    for target in ("/sample.npz?n=64&seed=7", "/sample.npy?n=500&seed=7"):
        asked = api.get(target, GZIP)
        assert not packed(asked)
        assert asked.headers["content-length"] == str(len(asked.body))


def test_short_answers_are_sent_as_they_are(api: Caller) -> None:
    for target in ("/livez", "/readyz", "/problems/too-busy"):
        answer = api.get(target, GZIP)
        assert len(answer.body) < MIN_BYTES
        assert not packed(answer)


def test_long_problem_is_packed(api: Caller) -> None:
    answer = api.get("/sample?" + "&".join(f"x{number}=1" for number in range(20)), GZIP)
    assert packed(answer)
    assert b'"code":"invalid-parameter"' in gzip.decompress(answer.body)


@pytest.mark.parametrize("target", ["/limits", "/openapi.json", "/", "/docs/swagger-ui.css"])
def test_head_of_a_document_has_the_length_of_its_packed_get(api: Caller, target: str) -> None:
    head, whole = api.call("HEAD", target, headers=GZIP), api.get(target, GZIP)
    assert packed(head)
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_head_of_an_operation_has_no_length_and_no_coding(api: Caller) -> None:
    """Neither is known without the work of GET (RFC 9110, 9.3.2)."""
    head = api.call("HEAD", "/sample?n=64&seed=7", headers=GZIP)
    assert "content-length" not in head.headers
    assert not packed(head)
    assert "accept-encoding" in head.headers["vary"].lower()


def test_long_text_is_packed_outside_of_the_event_loop(api: Caller) -> None:
    """Its time in a thread is part of the timing; the document itself is written on the loop."""
    assert "pool;dur=" in api.get("/openapi.json", GZIP).headers["server-timing"]
    assert "pool;dur=" not in api.get("/openapi.json").headers["server-timing"]


@pytest.fixture
def plain_only(tiny_store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, compression=False))) as caller:
        yield caller


def test_setting_switches_it_off(plain_only: Caller) -> None:
    for target in ("/sample?n=64&seed=7", "/limits", "/openapi.json"):
        answer = plain_only.get(target, GZIP)
        assert not packed(answer)
        assert answer.body == plain_only.get(target).body


def test_curl_unpacks_what_it_asked_for(server: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/sample?n=64&seed=7"
    plain = subprocess.run(["curl", "-sS", url], capture_output=True, check=True)
    short = subprocess.run(
        ["curl", "-sS", "--compressed", "-w", "%{stderr}%{size_download}", url],
        capture_output=True,
        check=True,
    )
    assert short.stdout == plain.stdout
    assert int(short.stderr) < len(plain.stdout) * 2 / 3


def test_connection_goes_on_after_packed_answers(server: Running) -> None:
    """One byte more or fewer than announced, and the next answer would begin within this one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        for method in ("GET", "HEAD", "GET", "HEAD", "GET"):
            for target in ("/sample?n=64&seed=7", "/limits", "/livez", "/sample.npy?n=300&seed=7"):
                connection.request(method, target, headers=GZIP)
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200
                if method == "GET":
                    assert len(body) == int(answer.headers["content-length"])
                else:
                    assert body == b""
    finally:
        connection.close()


def test_client_of_http_1_0_gets_it_too(server: Running) -> None:
    head, body = raw_answer(server, b"GET /limits HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert b"content-length: %d" % len(body) in head
    assert gzip.decompress(body).endswith(b"}\n")
