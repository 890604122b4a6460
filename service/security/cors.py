"""Calls from pages of other origins, for those that are allowed.

Knows the headers of CORS and the problem table. Knows nothing of routes. Without the setting `cors_origins`
no answer carries a word of permission, and browsers keep other pages out by themselves. Keys ride in
`Authorization`, which a page sets itself, so cookies and other credentials are never allowed.

`Preflight` answers the question that a browser asks before a call; `service.http.cross_origin` adds the
headers to every answer.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.cross_origin import CrossOrigin
from service.http.headers import first_header, joined_header
from service.http.problems import ProblemError

ALLOWED_METHODS: Final = ("GET", "HEAD", "POST")
#: Those that every page may send come first; OpenTelemetry adds the last three in a browser.
ALLOWED_HEADERS: Final = (
    "Accept",
    "Accept-Language",
    "Content-Language",
    "Content-Type",
    "Authorization",
    "X-Request-Id",
    "traceparent",
    "tracestate",
    "baggage",
)
#: How long a browser may remember the answer to its question; Chromium takes no more than two hours.
_MAX_AGE_S: Final = 7_200
_ALLOWED_NAMES: Final = frozenset(name.lower() for name in ALLOWED_HEADERS)


class Preflight:
    """Answers a browser's question whether a page may make a call, and hands on every other request."""

    def __init__(self, app: ASGIApp, *, cross_origin: CrossOrigin) -> None:
        self._app = app
        self._cross_origin = cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The envelope around it says whose pages may read the answer.

        Raises:
            ProblemError: `origin-not-allowed`.
        """
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            origin = first_header(scope, b"origin")
            method = first_header(scope, b"access-control-request-method")
            if origin is not None and method is not None:
                await self._answer(scope, origin, method)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _answer(self, scope: Scope, origin: str, method: str) -> Response:
        asked = joined_header(scope, b"access-control-request-headers") or ""
        names = {name.strip().lower() for name in asked.split(",")} - {""}
        if (
            method not in ALLOWED_METHODS
            or not names <= _ALLOWED_NAMES
            or not self._cross_origin.allows(origin.encode("latin-1"))
        ):
            raise ProblemError(
                "origin-not-allowed",
                "The browser asked whether a page may make this call. Allowed are the server's cors_origins, "
                f"the methods {', '.join(ALLOWED_METHODS)} and the headers {', '.join(ALLOWED_HEADERS)}.",
                headers={"Vary": _PREFLIGHT_VARY},
            )
        headers = {
            "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
            "Access-Control-Allow-Headers": ", ".join(ALLOWED_HEADERS),
            "Access-Control-Max-Age": str(_MAX_AGE_S),
            "Vary": _PREFLIGHT_VARY,
        }
        private = first_header(scope, b"access-control-request-private-network")
        if private is not None and not self._cross_origin.takes_all:
            # Some Chromium versions ask so before a page from the internet calls a private address. The
            # operator named the origin; "all" does not mean that.
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=headers)


_PREFLIGHT_VARY: Final = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)
