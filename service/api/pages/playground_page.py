"""The playground: the page that a browser receives at /, and the scripts and styles of it.

Knows Accept, caches and the policy of the page. Knows nothing of models: the page calls the public API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.pages.playground_files import Body, PackedFile, PlaygroundFiles, read_playground
from service.api.resource import Resource
from service.api.routing import route
from service.http.caching import Reuse, cache_control, tag_in_hand
from service.http.compression import accepted_codings
from service.http.headers import joined_header
from service.http.negotiation import prefers_page
from service.http.problems import ProblemError
from service.http.public_address import prefix_of

#: Scripts, styles and requests of this server only, and nothing inline. A picture may also be one that the
#: page has received or drawn.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_OF_THE_PAGE: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
)


class PlaygroundRoutes:
    """The assets, and the page for the route of the help."""

    resources: Sequence[Resource] = ()

    def __init__(self, *, compression: bool = True) -> None:
        """Read the files.

        Args:
            compression: Whether clients that accept gzip receive it.
        """
        self._files: PlaygroundFiles = read_playground()
        self._compression = compression

    def routes(self) -> list[Route]:
        """The assets: part of a page, and of no interface."""
        return route("/playground/{digest}/{path:path}", self.asset)

    def page(self, request: Request) -> Response | None:
        """The page, or None for a client that does not prefer HTML."""
        if not prefers_page(joined_header(request.scope, b"accept")):
            return None
        page = self._files.page(prefix_of(request.scope))
        response = self._response(request, page, Reuse.ASKING, vary=b"Accept, Accept-Encoding")
        response.raw_headers.extend(_OF_THE_PAGE)
        return response

    async def asset(self, request: Request) -> Response:
        """One file, looked up by name: a path never leads to the disk.

        Always whole, without Range. A page that was open during an upgrade requests files of the old release:
        files of the new one in their place would be modules that do not fit together.
        """
        asked = request.path_params
        if asked["digest"] != self._files.digest:
            raise ProblemError(
                "unknown-path", "These files belong to a page of another release. Reload the page at GET /."
            )
        file = self._files.assets.get(asked["path"])
        if file is None:
            raise ProblemError("unknown-path", "Only the files of the page at GET / are here.")
        return self._response(request, file, Reuse.DIGEST, vary=b"Accept-Encoding")

    def _response(self, request: Request, file: PackedFile, reuse: Reuse, *, vary: bytes) -> Response:
        body = self._body(request, file)
        of_both = [cache_control(reuse), (b"vary", vary)]
        tag = tag_in_hand(joined_header(request.scope, b"if-none-match"), body.etag)
        if tag is not None:
            response = Response(status_code=304)
            response.raw_headers = [*of_both, (b"etag", tag)]
            return response
        response = Response(body.content, media_type=file.media_type)
        response.raw_headers += [*of_both, (b"etag", body.etag)]
        if body is file.gzip:
            response.raw_headers.append((b"content-encoding", b"gzip"))
        return response

    def _body(self, request: Request, file: PackedFile) -> Body:
        if file.gzip is None or not self._compression:
            return file.plain
        accepted = accepted_codings(joined_header(request.scope, b"accept-encoding"))
        return file.gzip if accepted.gzip else file.plain
