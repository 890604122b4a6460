"""OpenTelemetry, on request: the configuration of FastAPI's own support, and its additions.

Knows OpenTelemetry's providers, FastAPI's `telemetry=` and the trace of a request. Knows nothing of models.

FastAPI creates the span and the metrics of each request. `sending` sends them to the receiver of the usual
variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on). FastAPI can send them too, but then a
stopping server waits up to 30 s for the receiver. The busiest paths never reach FastAPI's router, so
`SpanFacts` adds the route and the facts of the log line: the id, the version, the images and the timings. No
header, body or pixel becomes an attribute.

If it is off, only the API of OpenTelemetry is imported, and requests pass no line of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_store.release import release
from service.log_fields import fields
from service.observability.probes import PROBES
from service.observability.request_facts import add_to_span
from service.observability.request_trace import current_trace
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SIGNALS = ("TRACES", "METRICS")
#: How long a stopping server waits for the receiver's next answer. An absent or silent receiver gets no more
#: time.
_ANSWER_S: Final = 1.0
_SERVICE = "vae-service"
_log = logging.getLogger(__name__)


def telemetry_config(settings: Settings) -> TelemetryConfig:
    """The argument `telemetry` of FastAPI.

    Raises:
        SettingsError: It is on, and the extra is not installed.
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
            f"telemetry: expected the extra to be installed, but Python finds no {error.name}. Install "
            "vae-service[telemetry], or leave out --telemetry and VAE_TELEMETRY."
        ) from None
    for signal in _SIGNALS:
        if reason := _not_sent(signal):
            _log.warning(
                "telemetry goes nowhere",
                extra=fields(
                    signal=signal.lower(), reason=reason, remedy=f"{_ENDPOINT}=http://localhost:4318"
                ),
            )
    facts = {
        "service.name": _SERVICE,
        "service.version": release(),
        # Each process is an instance: otherwise a receiver could not add up several workers.
        "service.instance.id": str(uuid.uuid4()),
    }
    resource = Resource.create({**facts, **OTELResourceDetector().detect().attributes})
    return {
        # Our own, not the global ones: two applications in one process stay separate.
        "tracer_provider": TracerProvider(resource=resource, shutdown_on_exit=False),
        "meter_provider": MeterProvider(resource=resource, shutdown_on_exit=False),
        "tracing": True,
        "metrics": True,
        # It would send the text of exceptions; the log contains them, with the request id.
        "logs": False,
        "operation_spans": False,  # the routes are Starlette's, which have none
        "auto_configure": False,  # `sending` does
        "exclude": functools.partial(_is_probe, settings.root_path),
    }


class _Sender(Protocol):
    """The sender of one signal: a span processor or a metric reader."""

    def shutdown(self) -> None:
        """Send the rest."""


@contextlib.asynccontextmanager
async def sending(config: TelemetryConfig, settings: Settings) -> AsyncIterator[None]:
    """Send spans and metrics while the application runs, and the rest once more at the end.

    The end is bounded: by `_ANSWER_S` for each answer of the receiver, and by `shutdown_grace_s` in total.
    """
    senders: list[tuple[str, _Sender]] = []
    if settings.telemetry:
        try:
            senders = _senders(config)
        except Exception as error:  # such as an unreadable certificate; models are served all the same
            _log.warning("telemetry goes nowhere", extra=fields(reason=f"{type(error).__name__}: {error}"))
    try:
        yield
    finally:
        unsent = await _finish(senders, within_s=settings.shutdown_grace_s)
        if unsent:
            _log.warning(
                "telemetry not sent",
                extra=fields(reason="its receiver did not answer in time", signals=",".join(unsent)),
            )


def _senders(config: TelemetryConfig) -> list[tuple[str, _Sender]]:
    """One for each signal that has a receiver, registered with its provider."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    senders: list[tuple[str, _Sender]] = []
    if not _not_sent("TRACES"):
        spans = BatchSpanProcessor(OTLPSpanExporter())
        config["tracer_provider"].add_span_processor(spans)  # type: ignore[union-attr]
        senders.append(("traces", spans))
    if not _not_sent("METRICS"):
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        config["meter_provider"].add_metric_reader(reader)  # type: ignore[union-attr]
        senders.append(("metrics", reader))
    return senders


async def _finish(senders: list[tuple[str, _Sender]], *, within_s: float) -> list[str]:
    """Let all of them send the rest, at the same time.

    Returns:
        The signals that were not sent in time. Their threads are left behind: they are daemons, and not
        asyncio's, which would wait for them.
    """
    loop = asyncio.get_running_loop()
    until_s = time.monotonic() + within_s
    pending: dict[asyncio.Future[None], str] = {}
    for signal, sender in senders:
        future: asyncio.Future[None] = loop.create_future()
        pending[future] = signal
        threading.Thread(
            target=_shut_down, args=(sender, loop, future), name=f"vae-telemetry-{signal}", daemon=True
        ).start()
    while pending:
        left_s = min(_ANSWER_S, until_s - time.monotonic())
        done, _ = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        for future in done:
            del pending[future]
    return list(pending.values())


def _shut_down(sender: _Sender, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    try:
        sender.shutdown()
    except Exception as error:
        _log.warning("telemetry not sent", extra=fields(reason=f"{type(error).__name__}: {error}"))
    with contextlib.suppress(RuntimeError):  # the loop is closed: too late
        loop.call_soon_threadsafe(future.set_result, None)


def _not_sent(signal: str) -> str | None:
    """The reason why the environment disables TRACES or METRICS; None if it enables them."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OTEL_SDK_DISABLED is true"
    if not (os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or os.environ.get(_ENDPOINT)):
        return f"{_ENDPOINT} names no receiver"
    exporter = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if exporter not in ("", "otlp"):
        return f"OTEL_{signal}_EXPORTER: expected otlp, got {exporter[:40]!r}"
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name, "").strip().lower()
        if protocol:
            return (
                None
                if protocol == "http/protobuf"
                else f"{name}: expected http/protobuf, got {protocol[:40]!r}"
            )
    return None


class SpanFacts:
    """Outermost middleware with telemetry: completes the span of each request when its response begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record facts of the request on its span before the response begins."""
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
    """FastAPI's record of a request has the name of the route for its metrics, and its span."""
    record, trace = scope["fastapi.telemetry"], current_trace()
    route = getattr(scope.get("endpoint"), "route_template", None)
    record.route = route
    span = record.span
    if span is None or not span.is_recording():
        return
    if route is not None:
        span.set_attribute("http.route", route)
        span.update_name(f"{record.span_method} {route}")
    add_to_span(span, trace)


def _is_probe(root_path: str, scope: Scope) -> bool:
    """Spans of the periodic requests for probes would bury all others."""
    return scope["type"] == "http" and scope["path"].removeprefix(root_path) in PROBES
