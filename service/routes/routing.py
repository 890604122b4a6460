"""How a handler becomes a route: its template is remembered, for logs and metrics.

Knows Starlette's routes. Plain ones, because FastAPI's own cost twice as much per request and would
add only what `schemas.base` and `openapi` do here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


def route(
    path: str, handler: Handler, *, methods: Sequence[str] = ("GET",), suffixes: bool = False
) -> list[Route]:
    """Routes for a path and, with `suffixes`, for the path with a dot and anything after it.

    The template of both is `path`: labels stay bounded whatever suffix is tried.
    """
    paths = [path, path + ".{suffix}"] if suffixes else [path]
    routes = []
    for each in paths:

        async def endpoint(request: Request) -> Response:
            return await handler(request)

        endpoint.route_template = path  # type: ignore[attr-defined]
        routes.append(Route(each, endpoint, methods=list(methods), name=each))
    return routes
