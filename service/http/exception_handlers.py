"""Exceptions to answers: every one that has a row in the table of problems.

What has none reaches the middleware, which logs it and answers `internal-error`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.engine import CallerDisconnected
from service.http.middleware import problem_response
from service.http.problems import DOMAIN_ERRORS, Item, ProblemError, problem_of
from service.log_fields import fields

#: The answer to `OPTIONS *`, which asks about the server as a whole.
_OF_ANY_PATH: Final = "GET, HEAD, OPTIONS, POST"
_log = logging.getLogger(__name__)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _domain(_: Request, error: Exception) -> Response:
    if isinstance(error, CallerDisconnected):
        raise ClientDisconnect from error  # nobody reads an answer; the middleware logs it as such
    problem = problem_of(error)
    if problem.kind.status >= 500:
        _log.warning("no answer", extra=fields(code=problem.kind.code, reason=str(error)))
    return problem_response(problem)


async def _routing(request: Request, error: Exception) -> Response:
    """Starlette's own: no route, or a route without the method, which OPTIONS asks for."""
    assert isinstance(error, HTTPException)
    if request.method == "OPTIONS" and request.scope["path"] == "*":
        return _options(_OF_ANY_PATH)
    if error.status_code == 405:
        own = (error.headers or {}).get("Allow", "").replace(",", " ").split()
        allowed = ", ".join(sorted({*own, "OPTIONS"}))
        if request.method == "OPTIONS":
            return _options(allowed)
        item = Item("method", f"one of {allowed}", "another", "GET / lists commands that work.")
        problem = ProblemError(
            "method-not-allowed",
            f"This path takes {allowed}.",
            items=(item,),
            headers={"Allow": allowed},
        )
        return problem_response(problem)
    if error.status_code == 404:
        return problem_response(ProblemError("unknown-path", "No endpoint has this path."))
    raise error  # nothing of ours raises another: the middleware logs it


def _options(allowed: str) -> Response:
    """The methods that a path takes. Nothing is run for it, so it takes no key either."""
    return Response(status_code=204, headers={"Allow": allowed})


EXCEPTION_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    ProblemError: _problem,
    HTTPException: _routing,
    **{kind: _domain for kind, _ in DOMAIN_ERRORS},
}
