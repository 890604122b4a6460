"""The headers of a response as the server itself sends them, where Ray Serve adds its own.

Knows ASGI and what Ray adds. Named in `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`, so that Ray puts it around
everything else, in each replica.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = b"x-request-id"


def middlewares() -> list[Middleware]:
    """The layers for Ray Serve, which calls this in each replica."""
    return [Middleware(OneRequestId)]


class OneRequestId:
    """Removes the id that Ray appends to a response that has one: the log and the body contain the first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and remove a second id from its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_one(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                ids = [position for position, (name, _) in enumerate(headers) if name.lower() == _REQUEST_ID]
                for position in reversed(ids[1:]):
                    del headers[position]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_one)
