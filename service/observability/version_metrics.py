"""The metrics of requests by version: the comparison of a canary with the alias's own version.

Knows counters and label values. Knows nothing of requests. A label is that of a version which was loaded, so
their number is bounded.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class VersionMetrics:
    """Requests whose version is known, over HTTP and gRPC. Only the event loop calls `observe`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "vae_model_requests_total",
            "Answered requests whose version is known, by status: that of HTTP, or the name of gRPC.",
            ["model", "status"],
            registry=registry,
        )
        """What share of the requests does each version answer, and what share of those fails?"""

        self.seconds = Counter(
            "vae_model_request_seconds_total",
            "Time until the answers to these requests, in seconds.",
            ["model"],
            registry=registry,
        )
        """Is a new version slower than the one before?"""

        self._requests: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, model: str, *, status: str, duration_s: float) -> None:
        """Count one answered request."""
        key = (model, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._seconds[model] = self._seconds.get(model, 0.0) + duration_s

    def flush(self) -> None:
        """Add the counts since the previous call to the metrics."""
        for labels, count in self._requests.items():
            self.requests.labels(*labels).inc(count)
        for model, seconds in self._seconds.items():
            self.seconds.labels(model).inc(seconds)
        self._requests.clear()
        self._seconds.clear()
