"""Pages of other origins: the headers that allow them to read a response, and a log line if they may not.

Knows the setting `cors_origins` and the headers of CORS. Every response has them, even one that no
application wrote: a page that may not read a 413 or a 503 sees a failed network, and repeats a request that
cannot succeed.

A browser reports a blocked response to the page's developer alone, and without the name of our setting. So
the log names it, once for each origin.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

from service.http.caching import vary_by
from service.http.headers import first_header
from service.http.origins import is_same_host
from service.http.problems import ProblemError
from service.log_fields import fields
from service.setting_values import split_origins

Headers = list[tuple[bytes, bytes]]

#: Headers of a preflight request that decide its answer, for caches.
PREFLIGHT_VARY: Final = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    "Access-Control-Request-Private-Network"
)
_NOT_SET: Final = "VAE_CORS_ORIGINS is not set, so pages of other origins may not call this server."
#: Origins that are remembered, so that each is logged once. Any client can send any number of them.
_MOST_REMEMBERED: Final = 64
_log = logging.getLogger(__name__)


class CrossOrigin:
    """The setting `cors_origins`, and the resulting headers."""

    def __init__(self, origins: str | None = None, *, exposed_headers: Iterable[str] = ()) -> None:
        """Read the setting.

        Args:
            origins: Comma-separated origins, `*` for all, or None for no other origin.
            exposed_headers: Response headers that a page may read.
        """
        self.is_on = origins is not None
        self.takes_all = origins == "*"
        # The value names no origin, and the request of an <img> names none either. So the images of a server
        # with allowed origins can be embedded everywhere; scripts can read them at the allowed origins alone.
        self.resource_policy = b"cross-origin" if self.is_on else b"same-site"
        self._origins = frozenset(origin.encode("ascii") for origin in split_origins(origins or ""))
        self._only = next(iter(self._origins)) if len(self._origins) == 1 else None
        self._exposed = ", ".join(exposed_headers).encode("ascii")
        self._remembered: set[tuple[bytes, str]] = set()

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin may call this server."""
        return self.takes_all or origin in self._origins

    def permit(
        self, request: Iterable[tuple[bytes, bytes]], answer: Headers, *, is_whole: bool = True
    ) -> None:
        """Add the headers that allow the requesting page to read a response, or log that it may not.

        Args:
            request: Headers of the request, lower-case.
            answer: Headers of the answer, lower-case.
            is_whole: Whether all headers of the request came. If not, and Origin is missing, the response
                names the only allowed origin: a browser compares it, so another page cannot read the
                response.
        """
        if self.is_on:
            vary_by(answer, b"Origin")
        origin = None if is_whole else self._only
        for name, value in request:
            if name == b"origin":
                origin = value
                break
        if origin is None:
            return
        if self.is_on and self.allows(origin):
            answer.append((b"access-control-allow-origin", b"*" if self.takes_all else origin))
            answer.append((b"access-control-expose-headers", self._exposed))
        else:
            self.report(origin, request)

    def why_refused(self, origin: bytes) -> str | None:
        """The reason why pages of an origin may not call this server; None if they may."""
        if self.is_on:
            return None if self.allows(origin) else "VAE_CORS_ORIGINS does not contain the page's origin."
        return _NOT_SET

    def report(
        self, origin: bytes, request: Iterable[tuple[bytes, bytes]] = (), *, reason: str | None = None
    ) -> None:
        """Log that a page is kept out, once for each origin and reason.

        Args:
            origin: The origin of the page.
            request: Headers of the request, to recognise this server's own pages.
            reason: The reason, if it is not the origin.
        """
        key = (origin, reason or "")
        if key in self._remembered or len(self._remembered) >= _MOST_REMEMBERED:
            return
        self._remembered.add(key)
        if reason is None and _is_own(origin, request):
            return
        _log.warning(
            "page of another origin kept out",
            extra=fields(
                origin=str(origin, "latin-1"),
                reason=reason or self.why_refused(origin),
                remedy=_remedy(origin) if reason is None else "Change the page; see the detail of its 403.",
            ),
        )


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks if a page of another origin may send its request."""
    return (
        scope["method"] == "OPTIONS"
        and first_header(scope, b"origin") is not None
        and first_header(scope, b"access-control-request-method") is not None
    )


def preflight_refusal(why: str = _NOT_SET) -> ProblemError:
    """The answer to a preflight request that is not allowed."""
    return ProblemError("origin-not-allowed", why, headers={"Vary": PREFLIGHT_VARY})


def _is_own(origin: bytes, request: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a page is this server's own: its POST requests name their origin too."""
    headers = [(name, str(value, "latin-1")) for name, value in request]
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if sites:
        return sites == ["same-origin"]
    hosts = [value for name, value in headers if name in (b"host", b"x-forwarded-host")]
    return any(is_same_host(str(origin, "latin-1"), host) for host in hosts)


def _remedy(origin: bytes) -> str:
    if origin.startswith((b"http://", b"https://")):
        return "Add the origin to VAE_CORS_ORIGINS (--cors-origins), if its pages may call this server."
    return (
        "Serve the page over HTTP: this origin is that of a file, and only VAE_CORS_ORIGINS=* would allow it."
    )
