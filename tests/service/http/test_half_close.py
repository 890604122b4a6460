"""Clients that close their sending side: those who read on are answered, those who have left are noticed.

`nc -N`, some health checks and many scripts send a request, close their sending side and read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from server_process import serving
from wire_server import Speaking, answer_with, echo, read_body, speaking

from service.http.connection import connection_of

Run = Callable[[Coroutine[Any, Any, None]], None]

pytestmark = pytest.mark.hazard_row("half-closed")

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"b" * 100
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + BODY
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + BODY + b"\r\n0\r\n\r\n"


class Gated:
    """An application that reads, says so, and answers when it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = await read_body(receive)
        if body is None:
            return
        self.begun.release()
        await self.may_answer.wait()
        await answer_with(send, scope["path"].encode() + body)


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED], ids=["GET", "POST", "chunked"])
def test_client_that_sends_no_more_is_answered_whole_and_closed(run: Run, request_: bytes) -> None:
    async def test() -> None:
        app = Gated()
        async with speaking(app) as server, server.connected() as client:
            await client.send(request_)
            client.send_no_more()
            await app.begun.acquire()
            await until_half_closed(server)
            app.may_answer.set()
            answer = await client.all_that_comes()
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nconnection: close" in head
            assert body == request_.split(b" ")[1] + (b"" if request_ is GET else BODY)
            await server.until_nobody_is_connected()

    run(test())


@pytest.mark.parametrize("rest", [b"", b"GET /half HTTP/1.1\r\nHo", POST[:-1]], ids=["", "head", "body"])
def test_all_requests_sent_whole_are_answered_and_half_a_request_is_not(run: Run, rest: bytes) -> None:
    async def test() -> None:
        app = Gated()
        async with speaking(app) as server, server.connected() as client:
            await client.send(GET + POST + CHUNKED + rest)
            client.send_no_more()
            await app.begun.acquire()
            app.may_answer.set()
            for expected in (b"/a", b"/b" + BODY, b"/c" + BODY):
                assert (await client.answer()).body == expected
            assert await client.all_that_comes() == b""
            await server.until_nobody_is_connected()
        assert len(app.scopes) <= 4

    run(test())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n", id="an empty line"),
        pytest.param(b"GET / HTTP/1.1\r\nHo", id="half a head"),
        pytest.param(POST[:-1], id="half a body"),
        pytest.param(CHUNKED[:-2], id="a body without its end"),
        pytest.param(POST[:-100].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"), id="no body"),
    ],
)
def test_connection_without_a_whole_request_is_closed_at_once(run: Run, sent: bytes) -> None:
    async def test() -> None:
        async with speaking(echo) as server:
            for before in (b"", GET):
                async with server.connected() as client:
                    if before:
                        await client.send(before)
                        await client.answer()
                    await client.send(sent)
                    client.send_no_more()
                    assert await client.all_that_comes() in (b"", b"HTTP/1.1 100 Continue\r\n\r\n")
                    await server.until_nobody_is_connected()
            await server.until(lambda: not server.state.tasks)

    run(test())


def test_only_a_closed_connection_is_disconnected(run: Run) -> None:
    """Both send the same FIN; and what those who left had asked for is not worth a run."""

    async def test() -> None:
        app = Gated()
        async with speaking(app) as server:
            async with server.connected() as stays, server.connected() as leaves:
                for client in (stays, leaves):
                    await client.send(GET)
                    await app.begun.acquire()
                stays.send_no_more()
                await leaves.close()
                staying, leaving = map(connection_of, app.scopes)
                await server.until(leaving.is_disconnected)
                await server.until(lambda: len(server.state.connections) == 1)
                assert not staying.is_disconnected()
                app.may_answer.set()
                assert (await stays.all_that_comes()).endswith(b"\r\n\r\n/a")
            await server.until_nobody_is_connected()
            await server.until(lambda: not server.state.tasks)

    run(test())


def test_answer_under_way_goes_on_when_the_client_sends_no_more(run: Run) -> None:
    part = b"p" * 100_000

    async def test() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            length = b"%d" % (20 * len(part))
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
            )
            for number in range(20):
                if number == 1:
                    begun.set()
                    await go_on.wait()
                await send({"type": "http.response.body", "body": part, "more_body": number < 19})

        async with speaking(stream) as server, server.connected() as client:
            await client.send(GET)
            await begun.wait()
            client.send_no_more()
            await until_half_closed(server)
            go_on.set()
            _, _, body = (await client.all_that_comes()).partition(b"\r\n\r\n")
            assert body == part * 20
            await server.until_nobody_is_connected()

    run(test())


def test_closed_connections_leave_nothing_behind(run: Run) -> None:
    async def test() -> None:
        async with speaking(echo) as server:
            for _ in range(50):
                async with server.connected() as client:
                    await client.send(POST)
                    client.send_no_more()
                    assert b"200 OK" in await client.all_that_comes()
            await server.until_nobody_is_connected()
            await server.until(lambda: not server.state.tasks)

    run(test())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_paths_with_and_without_a_model_run_answer(tiny_store: Path, tmp_path: Path, workers: str) -> None:
    body = b'{"n":1,"seed":1}'
    posted = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    requests = {
        "/livez": b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "/metrics": b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        "/sample.npy": b"GET /sample.npy?seed=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "many": b"GET /sample.npy?n=2000&seed=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST": b"POST /sample.npy HTTP/1.1\r\nHost: a\r\n" + posted,
    }

    async def ask(port: int, request: bytes, *, half_closed: bool) -> tuple[bytes, int]:
        """Status line and length of the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        try:
            writer.write(
                request if half_closed else request.replace(b"Host: a", b"Host: a\r\nConnection: close")
            )
            if half_closed:
                writer.write_eof()
            async with asyncio.timeout(60):
                head, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
            return head.split(b"\r\n")[0], len(rest)
        finally:
            writer.close()

    async def test(port: int) -> None:
        for name, request in requests.items():
            for _ in range(4):  # each worker takes some
                status, length = await ask(port, request, half_closed=True)
                assert status == b"HTTP/1.1 200 OK", name
                if name != "/metrics":
                    assert length == (await ask(port, request, half_closed=False))[1], name

    with serving(tiny_store, tmp_path / "log", "--workers", workers) as server:
        asyncio.run(test(server.port))
        assert server.stop() == 0
        assert "client left" not in server.log
        assert "Traceback" not in server.log


async def until_half_closed(server: Speaking) -> None:
    """Until the server has seen that the only client sends no more."""
    (connection,) = server.state.connections
    await server.until(lambda: connection._sends_no_more)
