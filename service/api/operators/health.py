"""Endpoints for operators: /livez, /readyz and /metrics.

None of them queues behind work: they run on the event loop and read known facts. None has parameters, and a
query is ignored, because balancers and monitors append their own (`/readyz?verbose`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.readiness import require_ready
from service.api.resource import JSON, Resource, text
from service.api.responses import document_response
from service.api.routing import route
from service.app_state import AppState
from service.http.document import Document
from service.observability.metrics import CONTENT_TYPE


class Alive(Document):
    """The process runs."""

    status: Literal["alive"]


class Ready(Document):
    """The default model answers."""

    status: Literal["ready"]
    reason: Annotated[str, Field(examples=["mnist@4 reproduced its golden vectors."])]
    """The evidence."""


LIVEZ: Final = Resource(
    path="/livez",
    operation_id="livez",
    tag="operation",
    summary="Is the process alive?",
    description="Answers while the process runs and its event loop turns. It checks nothing else.",
    answer={JSON: Alive},
)
READYZ: Final = Resource(
    path="/readyz",
    operation_id="readyz",
    tag="operation",
    summary="Can it answer? The default model reproduced its golden vectors.",
    description="Answers 503 until the default model is loaded, and while the server stops.",
    answer={JSON: Ready},
    problems=("not-ready",),
)
METRICS: Final = Resource(
    path="/metrics",
    operation_id="metrics",
    tag="operation",
    summary="Prometheus text, format 0.0.4.",
    description="Counters, gauges and histograms of requests, batches, models and the process.",
    answer={"text/plain": text("vae_ready 1.0\n")},
)


class HealthRoutes:
    """Health and metrics of one application."""

    resources = (LIVEZ, READYZ, METRICS)

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state

    def routes(self) -> list[Route]:
        """The probes and the metrics."""
        return [
            *route(LIVEZ.path, self.livez),
            *route(READYZ.path, self.readyz),
            *route(METRICS.path, self.metrics),
        ]

    async def livez(self, _: Request) -> Response:
        """The process runs and its event loop turns: reaching this line is the evidence."""
        return document_response(Alive(status="alive"))

    async def readyz(self, _: Request) -> Response:
        """Evidence, not a constant: the golden vectors of the default model agreed when it was loaded."""
        readiness = require_ready(self._app_state)
        return document_response(Ready(status="ready", reason=readiness.reason))

    async def metrics(self, _: Request) -> Response:
        """Prometheus text; the gauges about models are set on each scrape."""
        app_state = self._app_state
        app_state.observe_moment()
        return Response(app_state.metrics.render(), headers={"Content-Type": CONTENT_TYPE})
