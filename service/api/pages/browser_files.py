"""Files that browsers and crawlers request by themselves: /favicon.ico and /robots.txt.

Knows two small files. Knows nothing of models. They are part of no interface, so the OpenAPI document does
not have them. Both are open without a key, like the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.resource import Resource
from service.api.responses import document_response
from service.api.routing import route
from service.codecs.png_writer import png_file
from service.http.caching import Reuse

#: A z, white on black like the digits of MNIST.
_ICON: Final = (
    "................",
    "................",
    "................",
    "...##########...",
    "...##########...",
    ".........###....",
    "........###.....",
    ".......###......",
    "......###.......",
    ".....###........",
    "....###.........",
    "...##########...",
    "...##########...",
    "................",
    "................",
    "................",
)
#: Pixels of the file for each one above.
_SCALE: Final = 4
#: For every path: a crawler that follows links would run models.
_ROBOTS: Final = "User-agent: *\nDisallow: /\n"


class BrowserFileRoutes:
    """The two files."""

    resources: Sequence[Resource] = ()

    def __init__(self) -> None:
        self._icon = _icon()

    def routes(self) -> list[Route]:
        """Both files."""
        return [*route("/favicon.ico", self.favicon), *route("/robots.txt", self.robots)]

    async def favicon(self, _: Request) -> Response:
        """The icon. Browsers go by the Content-Type, and accept a PNG under this name."""
        return document_response(self._icon, "image/png", reuse=Reuse.FILE)

    async def robots(self, _: Request) -> Response:
        """The rules for crawlers."""
        return document_response(_ROBOTS.encode(), "text/plain", reuse=Reuse.FILE)


def _icon() -> bytes:
    drawn = np.array([[255 * (cell == "#") for cell in row] for row in _ICON], np.uint8)
    return png_file(drawn.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)[:, :, np.newaxis])
