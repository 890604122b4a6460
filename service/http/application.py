"""FastAPI, with layers outside of its own.

Knows ASGI. Knows nothing of what the layers do.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """FastAPI with our middleware outside of its own, so that a fast path passes through none of that."""

    edge: Sequence[Middleware] = ()
    """The outermost first."""
    has_telemetry = True
    """Whether FastAPI traces its requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As FastAPI's own, without the steps of a request that is not traced."""
        stack = self.middleware_stack
        if stack is None or scope["type"] != "http" or self.has_telemetry:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own stack inside of the layers."""
        app = super().build_middleware_stack()
        for layer in reversed(self.edge):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app
