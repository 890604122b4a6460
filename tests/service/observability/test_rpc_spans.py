"""Spans of gRPC calls: in the trace of the caller, with the facts of the log line and no metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.observability.request_trace import Trace
from service.observability.rpc_spans import RpcSpans

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PATH = "/inference.GRPCInferenceService/ModelInfer"
Made = Callable[..., ReadableSpan]


@pytest.fixture
def made() -> Made:
    """The span of one call."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config: Any = {"tracer_provider": provider}
    spans = RpcSpans(config)

    def make(trace: Trace, *, code: int = 0, path: str = PATH, metadata: Any = ()) -> ReadableSpan:
        spans.end(spans.begin(path, metadata), trace, code=code)
        (span,) = exporter.get_finished_spans()
        return span

    return make


def test_span_has_the_facts_of_the_log_line(made: Made) -> None:
    trace = Trace("my-id", route=PATH, model="mnist@3", images=4, phases={"run": 0.5})
    span = made(trace, metadata=[("authorization", "Bearer vae_secret"), ("x-request-id", "my-id")])
    assert (span.name, span.kind) == ("inference.GRPCInferenceService/ModelInfer", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "rpc.grpc.status_code": 0,
        "vae.request_id": "my-id",
        "vae.model": "mnist@3",
        "vae.images": 4,
        "vae.run_s": 0.5,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None


def test_span_is_part_of_the_trace_of_its_caller(made: Made) -> None:
    span = made(Trace("a", route=PATH), metadata=[("traceparent", PARENT)])
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("code", "is_ours"), [(3, False), (5, False), (8, False), (4, True), (13, True), (14, True)]
)
def test_only_errors_of_the_server_are_errors_of_the_span(made: Made, code: int, is_ours: bool) -> None:
    span = made(Trace("a", route=PATH, code="some-code"), code=code)
    assert (span.status.status_code is StatusCode.ERROR) is is_ours
    assert (span.attributes or {})["vae.problem"] == "some-code"


def test_name_that_a_client_chose_is_no_name_of_a_span(made: Made) -> None:
    """Names are the keys of every view of traces: a client must not make as many as it likes."""
    assert made(Trace("a", route=None), path="/any/Thing", code=12).name == "grpc"
