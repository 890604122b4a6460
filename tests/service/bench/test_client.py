"""One connection of the load client against answers of every shape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from patience import PATIENCE_S
from scripted_server import Say, ok, scripted_server

from service.bench.client import ask

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def asked(answer: Callable[[bytes], Say], *, timeout_s: float = PATIENCE_S) -> tuple[int, bytes]:
    async def test() -> tuple[int, bytes]:
        async with scripted_server(answer) as url:
            host, _, port = url.partition(":")
            return await ask(host, int(port), REQUEST, timeout_s=timeout_s)

    return asyncio.run(test())


def test_answer_of_a_declared_length_is_read() -> None:
    assert asked(lambda _: ok(b'{"a": 1}')) == (200, b'{"a": 1}')


def test_answer_in_chunks_is_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert asked(lambda _: Say(chunked)) == (200, b"abcde")


def test_status_of_an_error_is_told_with_its_body() -> None:
    assert asked(lambda _: ok(b"no", status="429 Too Many Requests")) == (429, b"no")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Say(b"", close=True), "closed before the response was whole"),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", close=True), "closed before"),
        (Say(b"SSH-2.0-OpenSSH\r\n"), "no HTTP"),
    ],
)
def test_answer_that_never_gets_whole_is_told_with_its_reason(said: Say, reason: str) -> None:
    with pytest.raises(ConnectionError, match=reason):
        asked(lambda _: said)


def test_answer_that_never_comes_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        asked(lambda _: Say(after_s=PATIENCE_S), timeout_s=0.1)
