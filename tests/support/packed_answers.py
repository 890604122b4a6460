"""One answer of a small application through the compression, as its client receives it.

Knows the messages of ASGI. Knows nothing of what is tested.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Sequence
from typing import Any

from service.http.compression import MIN_BYTES, Compression

LONG = b"0.0123456789,0.25," * 20_000
SHORT = b"x" * (MIN_BYTES - 1)


async def in_loop(pack: Callable[[], bytes]) -> bytes:
    """Packs on the event loop."""
    return pack()


class Answered:
    """What a client receives of one request."""

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.names = [name for name, _ in messages[0]["headers"]]
        self.parts = [message.get("body", b"") for message in messages[1:]]
        self.body = b"".join(self.parts)

    @property
    def text(self) -> bytes:
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body


def ask(*parts: bytes, **how: Any) -> Answered:
    return asyncio.run(asked(*parts, **how))


async def asked(
    *parts: bytes,
    accept: str | None = "gzip",
    content_type: str = "application/json",
    headers: Sequence[tuple[bytes, bytes]] = (),
    status: int = 200,
    method: str = "GET",
    path: str = "/sample",
    with_length: bool = True,
    run: Callable[[Callable[[], bytes]], Any] = in_loop,
) -> Answered:
    """What comes of an application that sends these parts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"%d" % len(b"".join(parts)))] if with_length else []
        sent = [(b"content-type", content_type.encode()), *length, *headers]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        for place, part in enumerate(parts, start=1):
            await send({"type": "http.response.body", "body": part, "more_body": place < len(parts)})

    async def nothing() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    accepted = [] if accept is None else [(b"accept-encoding", accept.encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": accepted}
    await Compression(app, run_in_thread=run)(scope, nothing, send)
    return Answered(messages)
