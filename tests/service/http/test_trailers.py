"""Trailers, the fields behind a chunked body: read, counted and dropped (RFC 9110, section 6.5.1)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from process_facts import resident_bytes
from server_process import Running, raw_answer, serving
from wire_server import answer_with, echo, speaking

from service.http.protocol import MAX_HEAD_BYTES

Run = Callable[[Coroutine[Any, Any, None]], None]

HEAD = b"POST /sample HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%b\r\n"
CHUNKS = b'10\r\n{"n":1,"seed":1}\r\n0\r\n'
TRAILERS = (
    b"X-Request-Id: from-a-trailer\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n"
    b"Accept: text/html\r\nHost: other\r\nAuthorization: Bearer a\r\nExpect: 100-continue\r\n"
    b"Connection: close\r\n"
    b"Connection: Upgrade\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\n"
)


def test_trailers_are_no_headers_wherever_they_are_cut(run: Run) -> None:
    plain = HEAD % b"" + CHUNKS + b"\r\n"
    request = HEAD % b"" + CHUNKS + TRAILERS + b"\r\n"

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(plain)
            without = (await client.answer()).json
            for cut in range(len(plain) - 10, len(request)):
                await client.send(request[:cut], request[cut:])
                assert (await client.answer()).json == without, request[:cut]
            await client.send(plain + request + plain)
            assert [(await client.answer()).json for _ in range(3)] == [without] * 3

    run(test())


def test_trailers_change_no_answer_and_no_address(tiny_store: Path, tmp_path: Path) -> None:
    """They made a gzip of the body, an id of the request, and, behind a trusted proxy, its client."""
    last = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with serving(tiny_store, tmp_path / "log", "--trusted-proxies", "127.0.0.1") as server:
        head, _ = raw_answer(
            server, HEAD % b"X-Forwarded-For: 10.0.0.9\r\n" + CHUNKS + TRAILERS + b"\r\n" + last
        )
        assert server.stop() == 0
        log = server.log
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"x-seed: 1\r\n" in head
    assert b"from-a-trailer" not in head
    assert '"client":"10.0.0.9"' in log
    assert "6.6.6.6" not in log


@pytest.mark.parametrize("trailer", [b"Content-Length: 16", b"Transfer-Encoding: chunked"])
def test_trailers_that_speak_of_the_length_are_refused(server: Running, trailer: bytes) -> None:
    head, body = raw_answer(server, HEAD % b"" + CHUNKS + trailer + b"\r\n\r\nGET /livez HTTP/1.1\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b'"malformed-request"' in body
    assert re.search(rb"HTTP/1\.1 \d", body) is None


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"X-Long: ", *[b"a" * 65_536] * 200], id="one trailer without end"),
        pytest.param([b"X-Many: aaaaaaaaaaaaaaaa\r\n" * 3_000] * 160, id="trailers without end"),
        pytest.param([b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n"], id="one whole trailer"),
    ],
)
def test_trailers_of_any_length_take_little_memory(server: Running, parts: list[bytes]) -> None:
    """The parser keeps a line until it is whole; nothing bounded one behind a body."""
    raw_answer(server, HEAD % b"" + CHUNKS, *parts)
    before = resident_bytes(server.process.pid)
    head, body = raw_answer(server, HEAD % b"" + CHUNKS, *parts)
    assert resident_bytes(server.process.pid) - before < 2_000_000
    if head:  # else the connection was reset while we sent, and the answer with it
        assert head.startswith(b"HTTP/1.1 431 ")
        assert str(MAX_HEAD_BYTES).encode() in body


@pytest.mark.parametrize(
    "rest", [b"0\r\nX-Long: " + b"a" * 200_000, b"zz\r\n"], ids=["endless trailer", "no chunk"]
)
def test_rubbish_behind_a_body_that_was_answered_early_gets_no_second_answer(run: Run, rest: bytes) -> None:
    """A client that sends requests one behind another would take it for the answer of the next."""

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await answer_with(send, b"early")

    async def test() -> None:
        async with speaking(refuse) as server, server.connected() as client:
            await client.send(HEAD % b"" + b"5\r\n12345\r\n")
            assert (await client.answer()).body == b"early"
            client.send_blindly(rest)
            assert await client.all_that_comes() == b""

    run(test())


def test_rubbish_behind_half_an_answer_is_not_written_into_it(run: Run) -> None:
    """A 400 in the middle of a stream would be read as part of it."""

    async def test() -> None:
        async with speaking(in_two_parts) as server, server.connected() as client:
            await client.send(HEAD % b"" + b"5\r\n12345\r\n")
            assert (await client.exactly(15)) == b"HTTP/1.1 200 OK"
            await client.send(b"zz\r\n")
            release.set()
            rest = await client.all_that_comes()
            assert rest.endswith(b"\r\n\r\nfirst,last")
            assert re.search(rb"HTTP/1\.1 \d", rest) is None

    release = asyncio.Event()

    async def in_two_parts(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"first,", "more_body": True})
        await release.wait()
        await send({"type": "http.response.body", "body": b"last"})

    run(test())
