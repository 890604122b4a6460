"""CORS: requests from pages of other origins, for the allowed origins.

Knows the headers of CORS. Knows nothing of routes. Without the setting `cors_origins` no response contains a
permission, and browsers reject the requests of other pages themselves. Keys travel in `Authorization`, which
a page sets itself, so cookies and other credentials are never allowed.

`Preflight` answers the browser's preflight request; `service.http.cross_origin` adds the headers to every
response.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from model_store.echo import echo
from service.http.cross_origin import PREFLIGHT_VARY, CrossOrigin, is_preflight, preflight_refusal
from service.http.headers import first_header, joined_header

ALLOWED_METHODS: Final = ("GET", "HEAD", "POST")
#: Headers that every page may send come first; two are of the Open Inference Protocol; OpenTelemetry adds
#: the last three in a browser.
ALLOWED_HEADERS: Final = (
    "Accept",
    "Accept-Language",
    "Content-Language",
    "Content-Type",
    "Content-Encoding",
    "Inference-Header-Content-Length",
    "Authorization",
    "X-Request-Id",
    "X-Canary-Key",
    "traceparent",
    "tracestate",
    "baggage",
)
#: How long a browser may cache a preflight response; Chromium caches for two hours at most.
_MAX_AGE_S: Final = 7_200
_ALLOWED_NAMES: Final = frozenset(name.lower() for name in ALLOWED_HEADERS)


class Preflight:
    """Answers preflight requests of browsers, and passes every other request on."""

    def __init__(self, app: ASGIApp, *, cross_origin: CrossOrigin) -> None:
        self._app = app
        self._cross_origin = cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight request. The envelope around it adds the origins that may read the response.

        Raises:
            ProblemError: `origin-not-allowed`.
        """
        if scope["type"] == "http" and is_preflight(scope):
            await self._answer(scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        page = (first_header(scope, b"origin") or "").encode("latin-1")
        method = first_header(scope, b"access-control-request-method") or ""
        asked = joined_header(scope, b"access-control-request-headers") or ""
        others = {name.strip().lower() for name in asked.split(",")} - {""} - _ALLOWED_NAMES
        why = self._cross_origin.why_refused(page)
        if why is None and (method not in ALLOWED_METHODS or others):
            why = _why_not(method, others)
            self._cross_origin.report(page, reason=why)
        if why is not None:
            raise preflight_refusal(why)
        headers = {
            "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
            "Access-Control-Allow-Headers": ", ".join(ALLOWED_HEADERS),
            "Access-Control-Max-Age": str(_MAX_AGE_S),
            "Vary": PREFLIGHT_VARY,
        }
        private = first_header(scope, b"access-control-request-private-network")
        if private is not None and not self._cross_origin.takes_all:
            # Some Chromium versions request this before a page from the internet calls a private address. A
            # named origin is permitted; `*` does not include it.
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=headers)


def _why_not(method: str, others: Collection[str]) -> str:
    """The reason why a page of an allowed origin may not send its request."""
    if method not in ALLOWED_METHODS:
        return f"Pages of other origins may send {', '.join(ALLOWED_METHODS)}, but not {echo(method)}."
    return (
        f"Pages of other origins may send the headers {', '.join(ALLOWED_HEADERS)}, but not "
        f"{echo(min(others))}."
    )
