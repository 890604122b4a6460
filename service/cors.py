"""Calls from pages of other origins, for those that are allowed.

Knows Starlette's CORS and the problem table. Knows nothing of routes. Only there when `cors_origins` is set:
without it no answer carries a word of permission, and browsers keep other pages out by themselves.
Keys ride in `Authorization`, which a page sets itself, so cookies and other credentials are never allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.middleware import problem_response
from service.problems import ProblemError
from service.settings import split_origins

ALLOWED_METHODS: Final = ("GET", "HEAD", "POST")
#: Beside those that every page may send.
ALLOWED_HEADERS: Final = ("Authorization", "Content-Type", "X-Request-Id")
#: How long a browser may remember the answer to its question; Chromium takes no more than two hours.
_MAX_AGE_S: Final = 7_200


class CrossOrigin(CORSMiddleware):
    """Starlette's, with the one form that errors have here."""

    def __init__(self, app: ASGIApp, *, origins: str, exposed_headers: Iterable[str]) -> None:
        """As `cors_origins` says.

        Args:
            app: What is called.
            origins: Comma-separated origins, or `*`.
            exposed_headers: Headers of our answers that a page may read.
        """
        super().__init__(
            app,
            allow_origins=split_origins(origins),
            allow_methods=ALLOWED_METHODS,
            allow_headers=ALLOWED_HEADERS,
            expose_headers=tuple(exposed_headers),
            max_age=_MAX_AGE_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """A browser's question whether it may make a call."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return Response(
                status_code=204, headers={k: v for k, v in response.headers.items() if k in _PREFLIGHT}
            )
        return problem_response(
            ProblemError(
                "origin-not-allowed",
                "The browser asked whether a page may make this call. Allowed are the server's cors_origins, "
                f"the methods {', '.join(ALLOWED_METHODS)} and the headers {', '.join(ALLOWED_HEADERS)}.",
                headers={"Vary": response.headers.get("vary", "Origin")},
            )
        )


_PREFLIGHT: Final = frozenset(
    {
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
        "vary",
    }
)
