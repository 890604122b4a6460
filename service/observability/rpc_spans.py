"""OpenTelemetry spans of gRPC calls, with the providers that FastAPI has for HTTP.

Knows OpenTelemetry's API and the trace of a request. Knows nothing of messages. Names and attributes are
those of the semantic conventions for gRPC servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import Span, SpanKind, StatusCode, get_tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.observability.request_facts import add_to_span
from service.observability.request_trace import Trace

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_NAME: Final = "vae-service"
_PARENT: Final = ("traceparent", "tracestate")
#: The conventions call these codes errors of the server: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
#: UNAVAILABLE, DATA_LOSS.
_OURS: Final = frozenset({2, 4, 12, 13, 14, 15})


class RpcSpans:
    """Makes the span of each call."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._tracer = get_tracer(_NAME, tracer_provider=config["tracer_provider"])
        self._parents = TraceContextTextMapPropagator()

    def begin(self, path: str, metadata: Sequence[tuple[str, str | bytes]]) -> Span:
        """The span of a call; its parent is the caller's, if the metadata names one."""
        carrier = {key: value for key, value in metadata if key in _PARENT and isinstance(value, str)}
        parent = self._parents.extract(carrier) if carrier else None
        service, _, method = path.removeprefix("/").partition("/")
        return self._tracer.start_span(
            path.removeprefix("/"),
            context=parent,
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )

    def end(self, span: Span, trace: Trace, *, code: int) -> None:
        """Record the facts of the log line on the span, and end it."""
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", code)
            if trace.route is None:
                span.update_name("grpc")  # a client chose the name of a method that does not exist
            add_to_span(span, trace)
            if code in _OURS:
                span.set_status(StatusCode.ERROR)
        span.end()
