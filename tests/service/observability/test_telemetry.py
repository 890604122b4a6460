"""OpenTelemetry: off unless asked for; and then a span for each request, its route and its facts."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from http_calls import Caller
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from patience import PATIENCE_S
from server_process import serving

from service.app import create_app
from service.observability.telemetry import SpanFacts, sending, telemetry_config
from service.settings import Settings, SettingsError

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Z = {"z": [[0.0] * 8]}


@pytest.fixture(autouse=True)
def _no_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)


class Traced:
    """An application with telemetry on, and what it has told."""

    def __init__(self, store: Path) -> None:
        self.settings = Settings(model_store=store, threads=1, max_images=64, telemetry=True)
        self.app = create_app(self.settings)
        config = self.app.state.telemetry
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        config["tracer_provider"].add_span_processor(SimpleSpanProcessor(self.exporter))
        config["meter_provider"].add_metric_reader(self.reader)

    def spans(self) -> list[ReadableSpan]:
        """Those since the last time."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    def routes_of_durations(self) -> set[object]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            (point.attributes or {}).get("http.route")
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "http.server.request.duration"
            for point in metric.data.data_points
        }


@pytest.fixture(scope="module")
def traced(tiny_store: Path) -> Traced:
    return Traced(tiny_store)


@pytest.fixture(scope="module")
def calls(traced: Traced) -> Iterator[Caller]:
    with Caller(traced.app) as caller:
        yield caller


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("GET", "/sample?n=2&seed=7", "/sample"),
        ("GET", "/sample.png", "/sample"),
        ("POST", "/decode", "/decode"),
        ("GET", "/models/mnist@stable", "/models/{name}"),
        ("GET", "/limits", "/limits"),
    ],
)
def test_each_request_has_a_span_with_the_template_of_its_route(
    calls: Caller, traced: Traced, method: str, target: str, route: str
) -> None:
    """The first three are answered before FastAPI's router sees them."""
    traced.spans()
    body = json.dumps(Z).encode() if method == "POST" else b""
    headers = {"content-type": "application/json"} if body else {}
    answer = calls.call(method, target, headers=headers, body=body)
    assert answer.status == 200
    (span,) = traced.spans()
    assert (span.name, span.kind) == (f"{method} {route}", SpanKind.SERVER)
    attributes = dict(span.attributes or {})
    assert attributes["http.route"] == route
    assert attributes["http.response.status_code"] == 200
    assert attributes["vae.request_id"] == answer.headers["x-request-id"]
    assert route in traced.routes_of_durations()


def test_span_tells_version_images_and_where_the_time_went(calls: Caller, traced: Traced) -> None:
    traced.spans()
    answer = calls.get("/sample?n=3&seed=1")
    (span,) = traced.spans()
    attributes = dict(span.attributes or {})
    assert attributes["vae.model"] == answer.headers["x-model"]
    assert attributes["vae.images"] == 3
    assert isinstance(attributes["vae.run_s"], float)
    assert isinstance(attributes["vae.queue_s"], float)


def test_span_belongs_to_the_trace_of_the_caller(calls: Caller, traced: Traced) -> None:
    traced.spans()
    calls.get("/sample", headers={"traceparent": PARENT})
    (span,) = traced.spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]


def test_refused_request_has_a_span_with_the_code_of_its_problem_and_no_error(
    calls: Caller, traced: Traced
) -> None:
    """A mistake of the caller is no failure of the server."""
    traced.spans()
    assert calls.post("/decode", b'{"z": [[1]]}').status == 422
    assert calls.get("/nothing/here").status == 404
    wrong, unknown = traced.spans()
    assert dict(wrong.attributes or {})["vae.problem"] == "invalid-value"
    assert wrong.name == "POST /decode"
    assert wrong.status.status_code is StatusCode.UNSET
    assert (unknown.name, "http.route" in dict(unknown.attributes or {})) == ("GET", False)


def test_probes_have_no_span(calls: Caller, traced: Traced) -> None:
    traced.spans()
    for path in ("/livez", "/readyz", "/metrics"):
        assert calls.get(path).status == 200
    assert traced.spans() == []


def test_no_header_and_no_body_becomes_an_attribute(calls: Caller, traced: Traced) -> None:
    traced.spans()
    body = json.dumps({"z": [[0.123456] * 8]}).encode()
    calls.post("/decode", body, headers={"authorization": "Bearer vae_secret", "cookie": "taste=plum"})
    told = repr([dict(span.attributes or {}) for span in traced.spans()])
    assert "secret" not in told
    assert "plum" not in told
    assert "0.123456" not in told


def test_without_telemetry_nothing_of_it_is_in_the_way(tiny_store: Path) -> None:
    app = create_app(Settings(model_store=tiny_store, threads=1))
    assert all(layer.cls is not SpanFacts for layer in app.edge)  # type: ignore[attr-defined]
    assert app.state.telemetry == {
        "tracing": False, "metrics": False, "logs": False, "auto_configure": False
    }  # fmt: skip


def test_server_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(SettingsError, match=r"Install vae-service\[telemetry\]"):
        telemetry_config(Settings(telemetry=True))


def test_server_without_telemetry_does_not_import_its_libraries() -> None:
    code = (
        "import sys; from service.app import create_app; from service.settings import Settings; "
        "create_app(Settings()); print([n for n in sys.modules if n.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() == "[]"


def test_telemetry_without_a_receiver_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    telemetry_config(Settings(telemetry=True))
    assert "telemetry goes nowhere" in caplog.text


class Receiver(ThreadingHTTPServer):
    """Takes what an OpenTelemetry collector takes, on a free port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver.Handler)
        self.traces, self.metrics = ExportTraceServiceRequest(), ExportMetricsServiceRequest()

    class Handler(BaseHTTPRequestHandler):
        server: Receiver

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            told = self.server.traces if self.path == "/v1/traces" else self.server.metrics
            told.MergeFromString(body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass


def test_server_sends_everything_before_it_stops(tiny_store: Path, tmp_path: Path) -> None:
    """Spans are sent in batches; the last one must not be lost when a server is replaced."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_address[1]}",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    try:
        with serving(tiny_store, tmp_path / "log", "--telemetry", "true", environment=environment) as running:
            for _ in range(5):
                assert running.get("/sample?n=1&seed=1")[0] == 200
            assert running.stop() == 0, running.log
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
    told = receiver.traces.resource_spans
    (resource,) = {each.resource.SerializeToString(deterministic=True) for each in told}
    assert b"vae-service" in resource
    assert b"deployment.environment.name" in resource
    names = [span.name for each in told for scope in each.scope_spans for span in scope.spans]
    assert names == ["GET /sample"] * 5
    assert receiver.metrics.resource_metrics


@pytest.mark.hazard_row("telemetry-silent")
@pytest.mark.parametrize("receiver", ["silent", "away"])
def test_server_stops_in_time_although_its_receiver_does_not_answer(
    tiny_store: Path, tmp_path: Path, hazard: Hazard, receiver: str
) -> None:
    """It took 16 to 30 s: two signals, each waited for twice, 10 s and 5 s.

    The best of three counts, because the machine may be busy.
    """
    took_s: list[float] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if receiver == "silent":
            listener.listen(50)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        while len(took_s) < 3 and min(took_s, default=9.0) > 2.0:
            log = tmp_path / f"log{len(took_s)}"
            with serving(tiny_store, log, "--telemetry", "true", environment=environment) as running:
                for _ in range(5):
                    assert running.get("/sample?n=1&seed=1")[0] == 200
                begun_s = time.monotonic()
                assert running.stop() == 0, running.log
                took_s.append(time.monotonic() - begun_s)
                assert '"event":"telemetry not sent"' in running.log
                assert '"signals":"traces,metrics"' in running.log
                assert "Traceback" not in running.log
    hazard(
        "telemetry-silent",
        figure=f"{receiver}: exit after {min(took_s):.1f} s, idle",
        bar="≤ 2 s",
        met=min(took_s) <= 2.0,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_SDK_DISABLED", "true"),
    ],
)
def test_what_cannot_be_sent_is_warned_of_and_not_begun(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str
) -> None:
    """Such variables are set for every container of a cluster; models are served all the same."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv(variable, value)
    settings = Settings(telemetry=True)

    async def begun() -> set[threading.Thread]:
        before = set(threading.enumerate())
        async with sending(telemetry_config(settings), settings):
            return set(threading.enumerate()) - before

    assert asyncio.run(begun()) == set()
    assert "telemetry goes nowhere" in caplog.text
    assert any(variable in str(getattr(record, "vae_fields", "")) for record in caplog.records)
