"""What uvicorn would answer by itself, or not at all: no HTTP, long addresses, heads without end."""

from __future__ import annotations

import json
import re

import pytest
from process_facts import resident_bytes
from server_process import Running, raw_answer


def test_what_is_no_http_is_told_so_as_a_problem(server: Running) -> None:
    for rubbish in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        head, body = raw_answer(server, rubbish + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in head
        assert b"server-timing: total;dur=" in head
        problem = json.loads(body)
        assert problem["code"] == "malformed-request"
        assert f"x-request-id: {problem['request_id']}".encode() in head
        (line,) = (json.loads(line) for line in server.log.splitlines() if problem["request_id"] in line)
        assert (line["event"], line["status"], line["level"]) == ("malformed request", 400, "info")
    assert "Invalid HTTP" not in server.log
    counted = re.search(rb'vae_problems_total{code="malformed-request"} (\d+)', server.get("/metrics")[2])
    assert counted
    assert int(counted[1]) >= 3


@pytest.mark.parametrize("length", [16_000, 65_000, 65_536, 100_000])
@pytest.mark.parametrize(
    "target", ["/models/{}", "/sample?model={}", "/{}", "/sample?{}=1", "/models/mnist?{}"]
)
def test_address_of_any_length_is_refused_as_a_wrong_name(server: Running, target: str, length: int) -> None:
    """The parser gives up at 64 kB, and a name that long was told to be no HTTP at all."""
    status, headers, body = server.get(target.format("a" * length))
    assert status in (404, 422), body
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"X-Long: ", *[b"a" * 65_536] * 200], id="one header without end"),
        pytest.param([b"X-Many: aaaaaaaaaaaaaaaa\r\n" * 3_000] * 160, id="headers without end"),
        pytest.param([b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n"], id="one whole header"),
    ],
)
def test_head_of_any_length_takes_little_memory(server: Running, parts: list[bytes]) -> None:
    """uvicorn keeps every header that comes, however many, before anybody is asked."""
    raw_answer(server, b"GET /livez HTTP/1.1\r\n", *parts)
    before = resident_bytes(server.process.pid)
    head, body = raw_answer(server, b"GET /livez HTTP/1.1\r\n", *parts)
    assert resident_bytes(server.process.pid) - before < 2_000_000
    if head:  # else the connection was reset while we sent, and the answer with it
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["code"] == "head-too-large"


def test_headers_of_usual_length_are_taken(server: Running) -> None:
    """Proxies and single sign-on add kilobytes."""
    request = b"GET /livez HTTP/1.1\r\n" + b"X: %s\r\n" % (b"a" * 60_000) + b"Connection: close\r\n\r\n"
    head, _ = raw_answer(server, request)
    assert head.startswith(b"HTTP/1.1 200 ")


def test_rubbish_after_a_request_does_not_take_its_answer(server: Running) -> None:
    """The first answer on a connection belongs to the first request, and it was a 400."""
    good = b"POST /sample HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n" + b'{"n":1,"seed":7}'
    head, body = raw_answer(server, good + b"\x00\x01\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head
    assert json.loads(body)["seed"] == 7


def test_rubbish_within_a_body_is_the_answer_of_its_request(server: Running) -> None:
    begun = b"POST /sample HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
    head, body = raw_answer(server, begun + b'{"n":\r\nzz\r\n\r\n')
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "malformed-request"
