"""GET /limits: what this server takes, and what it answers beyond that. A query is ignored."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.operators.limits_table import limit_rows
from service.api.routing import route
from service.app_state import Services


class LimitRoutes:
    """The limits of one application; they never change while it runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        rows = limit_rows(services.settings)
        self._body = orjson.dumps({"limits": [row.document() for row in rows]})

    def routes(self) -> list[Route]:
        """The one route."""
        return [*route("/limits", self.limits)]

    async def limits(self, _: Request) -> Response:
        """Every limit with its value and unit."""
        return Response(self._body, media_type="application/json")
