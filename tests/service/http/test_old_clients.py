"""HTTP/1.0: no interim answers, no chunks, no kept connections."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from server_process import Running, raw_answer
from wire_server import answer_with, echo, speaking

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("version", [b"1.0", b"0.9"])
def test_old_client_gets_no_interim_answer(run: Run, version: bytes) -> None:
    """RFC 9110, 10.1.1: an expectation in HTTP/1.0 MUST be ignored."""
    head = b"POST /a HTTP/%b\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n" % version

    async def test() -> None:
        async with speaking(echo) as server, server.connected() as client:
            await client.send(head, b'{"n": 1}')
            answer = await client.all_that_comes()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.count(b"HTTP/1.1 ") == 1

    run(test())


def test_model_answers_an_old_client_that_expects_to_be_told(server: Running) -> None:
    request = b"POST /sample HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n"
    head, _ = raw_answer(server, request, b'{"n": 1}')
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
def test_old_client_gets_no_chunks_but_the_end_of_the_connection(run: Run, keep: bytes) -> None:
    """RFC 9112, 6.1: no Transfer-Encoding to a client that has not said HTTP/1.1."""

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one,", b"two,"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def test() -> None:
        async with speaking(stream) as server:
            for version in (b"1.0", b"0.9"):
                async with server.connected() as client:
                    await client.send(b"GET / HTTP/%b\r\n%b\r\n" % (version, keep))
                    head, _, body = (await client.all_that_comes()).partition(b"\r\n\r\n")
                    assert b"transfer-encoding" not in head.lower()
                    assert b"\r\nconnection: close" in head
                    assert body == b"one,two,"
            async with server.connected() as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert (await client.all_that_comes()).endswith(b"4\r\none,\r\n4\r\ntwo,\r\n0\r\n\r\n")

    run(test())


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_old_client_gets_the_length_where_there_is_one(run: Run, method: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer_with(send, b"12345")

    async def test() -> None:
        async with speaking(app) as server, server.connected() as client:
            await client.send(method + b" / HTTP/1.0\r\n\r\n")
            head, _, body = (await client.all_that_comes()).partition(b"\r\n\r\n")
            assert b"\r\ncontent-length: 5" in head
            assert body == (b"12345" if method == b"GET" else b"")

    run(test())


def test_commands_for_a_client_that_names_no_host_have_the_port_of_this_server(server: Running) -> None:
    _, text = raw_answer(server, b"GET / HTTP/1.0\r\n\r\n")
    assert f"curl http://localhost:{server.port}/sample.txt".encode() in text
