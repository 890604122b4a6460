"""Calls from pages of other origins, for those that are allowed.

Knows the headers of CORS and the problem table. Knows nothing of routes. Without the setting `cors_origins`
no answer carries a word of permission, and browsers keep other pages out by themselves. Keys ride in
`Authorization`, which a page sets itself, so cookies and other credentials are never allowed.

    CrossOrigin  the headers of every answer, also of those that no application wrote: a page that may not
                 read a 413 or a 503 sees a failed network, and repeats a request that cannot succeed
    Preflight    pure ASGI: answers the question that a browser asks before a call
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.headers import first_header, joined_header
from service.http.problems import ProblemError
from service.settings import split_origins

Headers = list[tuple[bytes, bytes]]

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


class CrossOrigin:
    """The setting `cors_origins`, and the headers that follow from it."""

    def __init__(self, origins: str | None = None, *, exposed_headers: Iterable[str] = ()) -> None:
        """Reads the setting.

        Args:
            origins: Comma-separated origins, `*` for all, or None for no other origin.
            exposed_headers: Headers of our answers that a page may read.
        """
        self.is_on = origins is not None
        self.takes_all = origins == "*"
        self.resource_policy = b"cross-origin" if self.takes_all else b"same-site"
        self._origins = frozenset(origin.encode("ascii") for origin in split_origins(origins or ""))
        self._only = next(iter(self._origins)) if len(self._origins) == 1 else None
        self._exposed = ", ".join(exposed_headers).encode("ascii")

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin may call this server."""
        return self.takes_all or origin in self._origins

    def permit(
        self, request: Iterable[tuple[bytes, bytes]], answer: Headers, *, is_whole: bool = True
    ) -> None:
        """Adds to an answer what lets the page read it that sent the request.

        Args:
            request: Headers of the request, lower-case.
            answer: Headers of the answer, lower-case.
            is_whole: Whether all headers of the request came. If not, and Origin is missing, the page is
                taken for one of the only allowed origin: a browser compares, and another page reads nothing.
        """
        if not self.is_on:
            return
        _vary(answer)
        presumed = None if is_whole else self._only
        origin = next((value for name, value in request if name == b"origin"), presumed)
        if origin is not None and self.allows(origin):
            answer.append((b"access-control-allow-origin", b"*" if self.takes_all else origin))
            answer.append((b"access-control-expose-headers", self._exposed))


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


def _vary(answer: Headers) -> None:
    """Says to caches that another origin gets other headers."""
    for place, (name, value) in enumerate(answer):
        if name == b"vary":
            if b"origin" not in value.lower().replace(b" ", b"").split(b","):
                answer[place] = (name, value + b", Origin")
            return
    answer.append((b"vary", b"Origin"))
