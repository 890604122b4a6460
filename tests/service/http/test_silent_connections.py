"""Connections on which nothing is asked: closed without a word, and no request in any figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from wire_server import echo, speaking

from service.http.protocol import ConnectionBounds, ProblemProtocol

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"\r\n"], id="an empty line"),
        pytest.param([GET, b"\r\n"], id="an empty line behind a request"),
    ],
)
def test_what_asks_nothing_is_closed_silently_and_counted_apart(run: Run, sent: list[bytes]) -> None:
    """It was a 408 that nobody had asked for, and a request of ten seconds in the metrics."""

    async def test() -> None:
        async with speaking(echo, ConnectionBounds(receipt_s=10.0)) as server, server.connected() as client:
            await server.until(lambda: len(server.state.connections) == 1)
            for part in sent:
                await client.send(part)
                if part == GET:
                    await client.answer()
            (connection,) = server.state.connections
            assert isinstance(connection, ProblemProtocol)
            connection.sweep(time.monotonic() + 9.0)
            assert not connection.transport.is_closing()
            connection.sweep(time.monotonic() + 10.1)
            assert await client.all_that_comes() == b""
            text = server.metrics.render().decode()
            assert 'vae_connections_closed_total{reason="silent"} 1.0' in text
            assert "vae_http_requests_total{" not in text
            assert "vae_problems_total{" not in text

    run(test())


def test_half_a_head_is_answered_408_and_counted_as_a_request(run: Run) -> None:
    async def test() -> None:
        async with speaking(echo, ConnectionBounds(receipt_s=10.0)) as server, server.connected() as client:
            await client.send(b"G")
            (connection,) = server.state.connections
            assert isinstance(connection, ProblemProtocol)
            connection.sweep(time.monotonic() + 10.1)
            assert (await client.all_that_comes()).startswith(b"HTTP/1.1 408 ")
            text = server.metrics.render().decode()
            assert 'vae_http_requests_total{method="other",route="none",status="408"} 1.0' in text
            assert "vae_connections_closed_total{" not in text

    run(test())
