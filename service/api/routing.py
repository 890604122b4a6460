"""From a handler to a route that records its template, for logs and metrics.

Knows Starlette's routes and the fast paths. `openapi.document` explains why they are not FastAPI's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.fast_routes import FastPath, Handler
from service.http.negotiation import Format


def route(
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("GET",),
    suffixes: bool = False,
    is_documented: bool = True,
) -> list[Route]:
    """Routes for a path and, with `suffixes`, for the path with a dot and anything after it.

    The template of both is `path`: labels stay bounded for any suffix.

    Args:
        path: The path, with its parameters in braces.
        handler: Answers its requests.
        methods: Accepted methods; GET includes HEAD.
        suffixes: Whether it also takes a suffix.
        is_documented: False for paths that are no interface, and are only refused clearly.
    """
    paths = [path, path + ".{suffix}"] if suffixes else [path]
    return [
        Route(
            each,
            _endpoint(handler, path),
            methods=list(methods),
            name=each,
            include_in_schema=is_documented,
        )
        for each in paths
    ]


def fast_paths(
    path: str, handler: Handler, *, methods: Sequence[str] = ("GET",), forms: Iterable[Format] = ()
) -> dict[str, FastPath]:
    """The same by exact path, with each suffix that names a format."""
    allowed = frozenset(methods)
    suffixed = {f"{path}.{form.suffix}": {"suffix": form.suffix} for form in forms}
    everything: Mapping[str, Mapping[str, str]] = {path: {}, **suffixed}
    return {exact: FastPath(handler, path, allowed, params) for exact, params in everything.items()}


def _endpoint(handler: Handler, template: str) -> Handler:
    async def endpoint(request: Request) -> Response:
        return await handler(request)

    endpoint.route_template = template  # type: ignore[attr-defined]
    return endpoint
