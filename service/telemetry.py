"""OpenTelemetry, where it is asked for: what FastAPI's own support is told, and what it cannot know.

Knows OpenTelemetry's providers, FastAPI's `telemetry=` and the trace of a request. Knows nothing of models.

FastAPI makes the span and the metrics of each request, and sends them where the usual variables say
(OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on). The paths that carry the load never reach its
router, though, so `SpanFacts` tells the route, and what the log tells of a request besides: its id, the
version that answered, the images and where the time went. No header, body or pixel becomes an attribute.

Off, nothing of OpenTelemetry but its API is imported, and a request passes through no line of this.
"""

from __future__ import annotations

import functools
import logging
import os
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.logs import fields
from service.middleware import PROBES
from service.settings import Settings, SettingsError
from service.trace import current_trace

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

#: Any of them names a receiver.
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_SERVICE = "vae-service"
_log = logging.getLogger(__name__)


def telemetry_config(settings: Settings) -> TelemetryConfig:
    """The argument `telemetry` of FastAPI.

    Raises:
        SettingsError: It is asked for, and the extra is not installed.
    """
    if not settings.telemetry:
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401, PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415  (the extra; 60 ms)
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"telemetry: expected the extra to be installed, but Python finds no {error.name}. "
            "Install vae-service[telemetry], or leave --telemetry and VAE_TELEMETRY out."
        ) from None
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        _log.warning(
            "telemetry goes nowhere",
            extra=fields(
                reason=f"{_ENDPOINTS[0]} names no receiver", remedy=f"{_ENDPOINTS[0]}=http://localhost:4318"
            ),
        )
    facts = {
        "service.name": _SERVICE,
        "service.version": version(_SERVICE),
        # Each process is an instance: a receiver could not add up several workers otherwise.
        "service.instance.id": str(uuid.uuid4()),
    }
    resource = Resource.create({**facts, **OTELResourceDetector().detect().attributes})
    return {
        # Of our own, not the global ones: two applications in one process stay apart.
        "tracer_provider": TracerProvider(resource=resource, shutdown_on_exit=False),
        "meter_provider": MeterProvider(resource=resource, shutdown_on_exit=False),
        "tracing": True,
        "metrics": True,
        # It would send the text of exceptions; the log has them, with the request id.
        "logs": False,
        "operation_spans": False,  # the routes are Starlette's, which have none
        "auto_configure": True,
        "exclude": functools.partial(_is_probe, settings.root_path),
    }


class SpanFacts:
    """Outermost middleware while telemetry is on: completes the span of each request as its answer begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note facts of the request on its span before the answer begins."""
        if scope["type"] != "http" or scope.get("fastapi.telemetry") is None:
            await self._app(scope, receive, send)
            return

        async def send_noted(message: Message) -> None:
            # Not later: FastAPI ends the span with the last byte.
            if message["type"] == "http.response.start":
                _note(scope)
            await send(message)

        await self._app(scope, receive, send_noted)


def _note(scope: Scope) -> None:
    """FastAPI's record of a request has the name of the route for its metrics, and the span of it."""
    record, trace = scope["fastapi.telemetry"], current_trace()
    route = getattr(scope.get("endpoint"), "route_template", None)
    record.route = route
    span = record.span
    if span is None or not span.is_recording():
        return
    if route is not None:
        span.set_attribute("http.route", route)
        span.update_name(f"{record.span_method} {route}")
    span.set_attribute("vae.request_id", trace.request_id)
    if trace.model is not None:
        span.set_attribute("vae.model", trace.model)
        span.set_attribute("vae.images", trace.images)
    if trace.code is not None:
        span.set_attribute("vae.problem", trace.code)
    for phase, seconds in trace.phases.items():
        span.set_attribute(f"vae.{phase}_s", seconds)


def _is_probe(root_path: str, scope: Scope) -> bool:
    """What is asked every few seconds for ever would bury the rest."""
    return scope["type"] == "http" and scope["path"].removeprefix(root_path) in PROBES
