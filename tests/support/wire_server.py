r"""The server's protocol around a small ASGI application, in this process, on either event loop.

Knows uvicorn, `service.http.protocol` and sockets. Knows nothing of models or routes.

    def test_...(run):
        async def body() -> None:
            async with speaking(app) as server:
                async with server.connected() as client:
                    await client.send(b"GET / HTTP/1.1\\r\\n\\r\\n")
                    answer = await client.answer()
        run(body())
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar

import uvicorn
import uvloop
from uvicorn.server import ServerState

from service.http.protocol import ConnectionBounds, ProblemProtocol
from service.observability.metrics import Metrics

#: Both event loops that the protocol may run on.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
#: Longer than any machine takes: what has not come by then does not come.
PATIENCE_S = 60.0


def run_on(loop: str, main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` to its end on a new event loop of that name."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main)


async def read_body(receive: Any) -> bytes | None:
    """The whole body, or None where the client left before its end."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def answer_with(send: Any, body: bytes, *, length: bool = True) -> None:
    """200 with `body`, with or without its length."""
    headers = [(b"content-length", b"%d" % len(body))] if length else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers what the application was given: method, path, headers and body."""
    body = await read_body(receive)
    if body is None:
        return
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "headers": headers,
        "body": body.decode("latin-1"),
    }
    await answer_with(send, json.dumps(told).encode())


@dataclass
class Answer:
    """One answer: status line and headers, then the body without its framing."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to the server under test."""

    def __init__(self, server: Speaking, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self.address = writer.get_extra_info("sockname")

    async def send(self, *segments: bytes) -> None:
        """Sends each of the segments once the server has read those before."""
        for segment in segments:
            self._writer.write(segment)
            self._sent += len(segment)
            async with asyncio.timeout(PATIENCE_S):
                # Work done, not time: the server shares this event loop.
                while self._server.received.get(self.address, 0) < self._sent:  # noqa: ASYNC110
                    await asyncio.sleep(0)

    def send_blindly(self, data: bytes) -> None:
        """Sends without waiting: the server may close before it has read all."""
        self._writer.write(data)

    def send_no_more(self) -> None:
        self._writer.write_eof()

    async def answer(self) -> Answer:
        """The next answer, which has its length."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            return Answer(head, await self._reader.readexactly(length))

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readexactly(count)

    async def all_that_comes(self) -> bytes:
        """Until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read(-1)
            return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@dataclass
class Speaking:
    """A server that listens."""

    port: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    state: ServerState = field(default_factory=ServerState)
    received: dict[Any, int] = field(default_factory=dict)
    """Bytes that were read of each client, by its address."""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        client = Client(self, *await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24))
        try:
            yield client
        finally:
            await client.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits while the event loop turns; fails if it never holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110  (any condition; nothing sets an event)
                await asyncio.sleep(0.001)

    async def until_nobody_is_connected(self) -> None:
        await self.until(lambda: not self.state.connections)


class _Counted(ProblemProtocol):
    """Tells the test how much it has read."""

    seen_by: ClassVar[Speaking]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        received = self.seen_by.received
        received[self.client] = received.get(self.client, 0) + len(data)


@contextlib.asynccontextmanager
async def speaking(app: Any, bounds: ConnectionBounds | None = None) -> AsyncIterator[Speaking]:
    """A server around `app`; at its end every connection and every task of it is ended."""
    server = Speaking()
    bounded = _Counted.bounded(server.metrics, bounds or ConnectionBounds())
    kind = type("_CountedHere", (bounded,), {"seen_by": server})
    config = uvicorn.Config(app, http=kind, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    make = functools.partial(kind, config=config, server_state=server.state, app_state={})
    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in list(server.state.connections):
            connection.transport.abort()
        await server.until_nobody_is_connected()
        bounded.closing.release()
        for task in list(server.state.tasks):
            task.cancel()
        await asyncio.gather(*server.state.tasks, return_exceptions=True)
        await listener.wait_closed()
