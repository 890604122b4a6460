"""The metrics of gRPC calls, each with its unit, its bounded labels and the question that it answers.

Knows counters and label values. Knows nothing of messages. Times of phases, problems, images and bytes are
counted with those of HTTP. A server without gRPC has none of these metrics.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from service.observability.metrics import DURATION_BUCKETS_S, Metrics
from service.observability.request_trace import Trace
from service.observability.tallies import BulkHistogram, Tallies


class RpcMetrics:
    """The metrics of one server's calls. Only the event loop calls it."""

    open_calls = 0
    """The value of `in_flight` at the next `flush`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        registry = metrics.registry

        self.requests = Counter(
            "vae_grpc_requests_total",
            "Answered gRPC calls; each message of a stream is one.",
            ["route", "status"],
            registry=registry,
        )
        """How many calls does each gRPC method receive, and what share of them fails?"""

        self.duration = BulkHistogram(
            "vae_grpc_request_duration_seconds",
            "From the beginning of a gRPC call, or of a message in a stream, to its answer, in seconds.",
            ["route"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        """How long do callers of each gRPC method wait for the answer?"""

        self.in_flight = Gauge(
            "vae_grpc_requests_in_flight",
            "gRPC calls, and messages of streams, being answered at this moment.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        """Is work piling up at the gRPC port?"""

        self._requests: dict[tuple[str, str], int] = {}
        self._durations = Tallies(self.duration, DURATION_BUCKETS_S)
        metrics.flushed_too.append(self.flush)

    def observe(self, trace: Trace, *, status: str, duration_s: float) -> None:
        """Count one answered call."""
        route = trace.route or "none"
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations.add((route,), duration_s)
        if trace.model is not None:
            self._metrics.versions.observe(trace.model, status=status, duration_s=duration_s)
        self._metrics.observe_work(
            phases=trace.phases,
            code=trace.code,
            image_labels=(trace.model, route) if trace.model is not None and status == "OK" else None,
            images=trace.images,
            body_bytes=trace.body_bytes,
        )

    def flush(self) -> None:
        """Add the counts since the previous call to the metrics."""
        for labels, count in self._requests.items():
            self.requests.labels(*labels).inc(count)
        self._requests.clear()
        self.in_flight.set(self.open_calls)
        self._durations.flush()
