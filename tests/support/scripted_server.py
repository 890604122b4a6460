"""A server on loopback that answers what a test says: late, in pieces, wrongly, or not at all.

Knows just enough HTTP/1.1 to find the end of a request. Runs on the test's own event loop.

    async with scripted_server(lambda request: ok(b"{}")) as url:
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Say:
    """What is answered to one request."""

    data: bytes = b""
    after_s: float = 0.0
    close: bool = False


def ok(body: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> Say:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return Say(head.encode() + body)


@contextlib.asynccontextmanager
async def scripted_server(
    answer: Callable[[bytes], Say], *, connected: Callable[[], object] = lambda: None
) -> AsyncIterator[str]:
    """Calls `connected` for each connection, `answer` with each whole request; gives `127.0.0.1:port`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connected()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                said = answer(head + await reader.readexactly(length))
                if said.after_s:
                    await asyncio.sleep(said.after_s)
                writer.write(said.data)
                await writer.drain()
                if said.close:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
