"""The facts of a request that its log line and its span contain, over HTTP and over gRPC alike.

Knows the trace of a request, and the names of fields and attributes. Knows no protocol, and neither the log's
format nor OpenTelemetry. No header, body or pixel is a fact.
"""

from __future__ import annotations

from typing import Protocol

from service.observability.request_trace import Trace


class Attributes(Protocol):
    """The part of a span that is used here."""

    def set_attribute(self, key: str, value: str | float) -> None:
        """Record one attribute."""


def add_to_line(values: dict[str, object], trace: Trace) -> None:
    """Add the version, the sizes and the problem to the fields of a log line."""
    if trace.model is not None:
        values |= {"model": trace.model, "images": trace.images}
    if trace.body_bytes:
        values["body_bytes"] = trace.body_bytes
    if trace.code is not None:
        values["code"] = trace.code


def add_to_span(span: Attributes, trace: Trace) -> None:
    """Record the id, the version, the number of images, the problem and the seconds of each phase."""
    span.set_attribute("vae.request_id", trace.request_id)
    if trace.model is not None:
        span.set_attribute("vae.model", trace.model)
        span.set_attribute("vae.images", trace.images)
    if trace.code is not None:
        span.set_attribute("vae.problem", trace.code)
    for phase, seconds in trace.phases.items():
        span.set_attribute(f"vae.{phase}_s", seconds)
