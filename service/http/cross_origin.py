"""Headers that allow pages of another origin to read a response.

Knows the setting `cors_origins` and the headers of CORS. Every response has them, even one that no
application wrote: a page that may not read a 413 or a 503 sees a failed network, and repeats a request that
cannot succeed.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.http.caching import vary_by
from service.settings import split_origins

Headers = list[tuple[bytes, bytes]]


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
        """Add the headers that allow the requesting page to read a response.

        Args:
            request: Headers of the request, lower-case.
            answer: Headers of the answer, lower-case.
            is_whole: Whether all headers of the request came. If not, and Origin is missing, the response
                names the only allowed origin: a browser compares it, so another page cannot read the
                response.
        """
        if not self.is_on:
            return
        vary_by(answer, b"Origin")
        presumed = None if is_whole else self._only
        origin = next((value for name, value in request if name == b"origin"), presumed)
        if origin is not None and self.allows(origin):
            answer.append((b"access-control-allow-origin", b"*" if self.takes_all else origin))
            answer.append((b"access-control-expose-headers", self._exposed))
