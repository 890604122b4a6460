"""The header X-Precision: the number format of the computation, next to the version that answered.

Knows the headers of a response. Knows nothing of models. Only a server with another format than float32 has
this layer. The format is no part of X-Model, because clients send that label back as the model.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PRECISION_HEADER: Final = "X-Precision"
_NAME: Final = PRECISION_HEADER.lower().encode("ascii")
_MODEL: Final = b"x-model"


class PrecisionHeader:
    """Adds the header to every response that names a version. It belongs outside of the layer that does."""

    def __init__(self, app: ASGIApp, *, precision: str) -> None:
        self._app = app
        self._header = (_NAME, precision.encode("ascii"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if any(name == _MODEL for name, _ in headers):
                    headers.append(self._header)
            await send(message)

        await self._app(scope, receive, send_with_header)
