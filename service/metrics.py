"""What Prometheus can ask, each metric with its unit, its bounded labels and the question it answers.

Knows counters and label values. Knows nothing of requests, models or arrays.
Every application has its own registry, so that two in one process (tests) never add up.
Labels are bounded: a route is its template, a method one of nine, a model one that is loaded.
"""

from __future__ import annotations

from bisect import bisect_left

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PHASE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_IMAGE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All metrics of one application. The docstring under each is the question it answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry

        self.requests = Counter(
            "vae_http_requests_total", "Answered requests.", ["route", "method", "status"], registry=registry
        )
        """How much is asked of each endpoint, and what share of it fails?"""

        self.duration = _BulkHistogram(
            "vae_http_request_duration_seconds",
            "From the request's headers to the answer's headers, in seconds.",
            ["route", "method"],
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        """How long do callers wait at each endpoint?"""

        self.phase = _BulkHistogram(
            "vae_request_phase_seconds",
            "Part of a request spent reading, waiting, parsing, running the model and encoding, in seconds.",
            ["phase"],
            buckets=_PHASE_BUCKETS_S,
            registry=registry,
        )
        """Where does a request's time go: the network, the queue, the codecs or the model?"""

        self.in_flight = Gauge(
            "vae_http_requests_in_flight", "Requests being answered at this moment.", registry=registry
        )
        """Is work piling up?"""

        self.problems = Counter("vae_problems_total", "Problem answers by code.", ["code"], registry=registry)
        """Which mistakes do callers make, and which are ours?"""

        self.images = _BulkHistogram(
            "vae_request_images",
            "Images in one successful request.",
            ["model", "route"],
            buckets=_IMAGE_BUCKETS,
            registry=registry,
        )
        """How many images does each model handle, and do callers send them one at a time or in batches?"""

        self.body_bytes = Counter(
            "vae_request_body_bytes_total", "Bytes of request bodies received.", registry=registry
        )
        """How much comes in?"""

        self.ready = Gauge("vae_ready", "1 when /readyz says yes, else 0.", registry=registry)
        """Is this instance able to answer?"""

        self.model_info = Gauge(
            "vae_model_info", "1 for each loaded version.", ["model", "kind"], registry=registry
        )
        """Which versions does this instance serve?"""

        self.load_failures = Gauge(
            "vae_model_load_failures",
            "Versions that were refused when they were last loaded.",
            registry=registry,
        )
        """Is something wrong in the store?"""

        ProcessCollector(registry=registry)

        # What `observe_request` keeps. Only the event loop touches these.
        self._requests: dict[tuple[str, str, str], int] = {}
        self._problems: dict[str, int] = {}
        self._body_bytes = 0
        self._durations = _Tallies(self.duration, _DURATION_BUCKETS_S)
        self._phases = _Tallies(self.phase, _PHASE_BUCKETS_S)
        self._images = _Tallies(self.images, _IMAGE_BUCKETS)

    def observe_models(self, *, loaded: list[tuple[str, str]], failures: int, ready: bool) -> None:
        """Sets the gauges about models; `loaded` holds (label, kind) of each version."""
        self.model_info.clear()
        for label, kind in loaded:
            self.model_info.labels(label, kind).set(1)
        self.load_failures.set(failures)
        self.ready.set(1 if ready else 0)

    def observe_request(
        self,
        *,
        route: str | None,
        method: str,
        status: int,
        duration_s: float,
        phases: dict[str, float],
        code: str | None,
        model: str | None,
        images: int,
        body_bytes: int,
    ) -> None:
        """Counts one answered request: quickly, in plain numbers that `flush` adds to the metrics."""
        template = route or "none"
        known_method = method if method in _METHODS else "other"
        key = (template, known_method, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations.add((template, known_method), duration_s)
        for name, seconds in phases.items():
            self._phases.add((name,), seconds)
        if code is not None:
            self._problems[code] = self._problems.get(code, 0) + 1
        if images and model is not None and status < 400:
            self._images.add((model, template), images)
        self._body_bytes += body_bytes

    def flush(self) -> None:
        """Adds to the metrics what `observe_request` has kept since the last time."""
        for labels, count in self._requests.items():
            self.requests.labels(*labels).inc(count)
        for code, count in self._problems.items():
            self.problems.labels(code).inc(count)
        self._requests.clear()
        self._problems.clear()
        self.body_bytes.inc(self._body_bytes)
        self._body_bytes = 0
        for tallies in (self._durations, self._phases, self._images):
            tallies.flush()

    def render(self) -> bytes:
        """Prometheus text, format 0.0.4."""
        self.flush()
        return bytes(generate_latest(self.registry))


class _BulkHistogram(Histogram):
    """A histogram that takes many observations at once, already sorted into its buckets."""

    def add(self, counts: list[int], total: float) -> None:
        """`counts[i]` observations in bucket i, the last being beyond every bound; `total` is their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class _Tallies:
    """Observations of one histogram, kept as plain numbers by label values until they are added in bulk.

    prometheus_client takes 3 us for an observation, most of it to find the labels and to lock; a request
    makes eight of them.
    """

    def __init__(self, histogram: _BulkHistogram, bounds: tuple[float, ...]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._kept: dict[tuple[str, ...], list[float]] = {}
        """Count of each bucket, then the sum."""

    def add(self, labels: tuple[str, ...], value: float) -> None:
        kept = self._kept.get(labels)
        if kept is None:
            kept = self._kept[labels] = [0] * (len(self._bounds) + 2)
        kept[bisect_left(self._bounds, value)] += 1
        kept[-1] += value

    def flush(self) -> None:
        for labels, (*counts, total) in self._kept.items():
            self._histogram.labels(*labels).add([int(count) for count in counts], total)
        self._kept.clear()
