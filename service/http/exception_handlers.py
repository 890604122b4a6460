"""Exceptions to responses: every exception in the table of problems.

Any other exception reaches the middleware, which logs it and sends `internal-error`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from model_store.echo import echo
from service.engine import CallerDisconnected
from service.http.cross_origin import is_preflight, preflight_refusal
from service.http.middleware import problem_response
from service.http.problems import DOMAIN_ERRORS, Item, ProblemError, problem_of
from service.http.unknown_path import unknown_path
from service.log_fields import fields

#: The response to `OPTIONS *`, which asks about the server as a whole.
_OF_ANY_PATH: Final = "GET, HEAD, OPTIONS, POST"
_MOVED: Final = "No path of this server ends with a slash; Location has the path without it.\n"
_log = logging.getLogger(__name__)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _domain(_: Request, error: Exception) -> Response:
    if isinstance(error, CallerDisconnected):
        raise ClientDisconnect from error  # no client reads a response; the middleware logs that
    problem = problem_of(error)
    if problem.kind.status >= 500:
        _log.warning("no answer", extra=fields(code=problem.kind.code, reason=str(error)))
    return problem_response(problem)


async def _routing(request: Request, error: Exception) -> Response:
    """Starlette's own errors: no route, or a route without the method, including OPTIONS."""
    assert isinstance(error, HTTPException)
    if request.method == "OPTIONS" and request.scope["path"] == "*":
        return _options(_OF_ANY_PATH)
    if error.status_code == 405:
        own = (error.headers or {}).get("Allow", "").replace(",", " ").split()
        allowed = ", ".join(sorted({*own, "OPTIONS"}))
        if is_preflight(request.scope):
            return problem_response(preflight_refusal())  # with cors_origins, `Preflight` answers it
        if request.method == "OPTIONS":
            return _options(allowed)
        item = Item("method", f"one of {allowed}", echo(request.method), "GET / lists working commands.")
        problem = ProblemError(
            "method-not-allowed",
            f"{echo(request.method)}: this path accepts {allowed}.",
            items=(item,),
            headers={"Allow": allowed},
        )
        return problem_response(problem)
    if error.status_code == 404:
        if (place := _without_slash(request)) is not None:
            return Response(_MOVED, 307, {"Location": place}, "text/plain")
        return problem_response(unknown_path(request))
    raise error  # our code raises no other: the middleware logs it


def _without_slash(request: Request) -> str | None:
    """Where a path with a slash at its end leads, if the same path without it exists.

    The address is relative, `../models?x=1`, so it is right for every host, scheme and prefix that a client
    may have used. With status 307, a client repeats its method and its body.
    """
    scope = request.scope
    path: str = scope["path"].removesuffix("/")
    sent = scope.get("raw_path") or quote(scope["path"]).encode()
    last = sent.removesuffix(b"/").rpartition(b"/")[2]
    # A slash that is escaped is a part of a name, and a name of dots would lead elsewhere.
    if sent == sent.removesuffix(b"/") or unquote_to_bytes(last) in (b"", b".", b".."):
        return None
    shorter = {**scope, "path": path}
    if all(route.matches(shorter)[0] is Match.NONE for route in request.app.router.routes):
        return None
    query = str(scope["query_string"], "latin-1")
    return f"../{quote(last, safe='%@')}" + (f"?{query}" if query else "")


def _options(allowed: str) -> Response:
    """The methods of a path. Nothing runs for it, so it requires no key either."""
    return Response(status_code=204, headers={"Allow": allowed})


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ProblemError: _problem,
    HTTPException: _routing,
    **{kind: _domain for kind, _ in DOMAIN_ERRORS},
}
