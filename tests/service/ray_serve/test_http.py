"""A response through Ray Serve has one id: that of the log and of the body."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from service.ray_serve.http import middlewares


class AppendsAnId:
    """As `ray.serve._private.http_util.RequestIdMiddleware` does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def append(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-request-id", b"of-ray"))
            await send(message)

        await self._app(scope, receive, append)


def headers_of(own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(own)})
        await send({"type": "http.response.body", "body": b"all of it"})

    wrapped: Any = AppendsAnId(app)
    for layer in middlewares():  # in the order of Ray
        wrapped = layer.cls(wrapped, *layer.args, **layer.kwargs)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    asyncio.run(wrapped({"type": "http", "headers": []}, receive, send))
    assert sent[1] == {"type": "http.response.body", "body": b"all of it"}
    found: list[tuple[bytes, bytes]] = sent[0]["headers"]
    return found


def test_the_first_id_stays() -> None:
    own = [(b"content-type", b"text/plain"), (b"x-request-id", b"of-the-server"), (b"x-model", b"mnist@6")]
    assert headers_of(own) == own


def test_the_only_id_stays() -> None:
    """Ray's own answers, such as 503 beyond `max_ongoing_requests`, have no other."""
    assert headers_of([]) == [(b"x-request-id", b"of-ray")]


def test_other_scopes_pass() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    (layer,) = middlewares()
    wrapped: Any = layer.cls
    asyncio.run(wrapped(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
    assert Starlette(middleware=middlewares()), "Ray accepts what Starlette accepts"
