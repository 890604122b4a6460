"""GET /limits: the limits of this server, and its reaction beyond them. A query is ignored."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.operators.limits_table import LimitTable
from service.api.resource import JSON, Resource
from service.api.responses import document_response
from service.api.routing import route
from service.http.caching import Reuse

LIMITS: Final = Resource(
    path="/limits",
    operation_id="limits",
    tag="people",
    summary="Every limit: its value, the reaction beyond it, and the setting that changes it.",
    description="Settings and constants in one table, with the problem beyond each of them.",
    answer={JSON: LimitTable},
)


class LimitRoutes:
    """The limits of one application; they never change while it runs."""

    resources = (LIMITS,)

    def __init__(self, table: LimitTable) -> None:
        self._body = table.to_json()

    def routes(self) -> list[Route]:
        """The one route."""
        return [*route(LIMITS.path, self.limits)]

    async def limits(self, _: Request) -> Response:
        """Every limit with its value and unit."""
        return document_response(self._body, reuse=Reuse.ASKING)
