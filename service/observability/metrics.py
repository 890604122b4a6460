"""The metrics for Prometheus, each with its unit, its bounded labels and the question that it answers.

Knows counters and label values. Knows nothing of requests, models or arrays.
Every application has its own registry, so that two in one process (tests) never add up.
Labels are bounded: a route is its template, a method one of nine, a model one that is loaded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client import values as shared_values
from prometheus_client.multiprocess import MultiProcessCollector

from service.observability.inference_metrics import SHARED_DIRECTORY, InferenceMetrics
from service.observability.process_metrics import ProcessMetrics
from service.observability.tallies import BulkHistogram, Tallies
from service.observability.version_metrics import VersionMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: A reader may take as long as it needs while it continues to read.
_STREAM_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_PHASE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_IMAGE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All metrics of one application. The docstring under each is the question it answers."""

    flushed_too: list[Callable[[], None]]
    """Called by `flush`, for counts that other modules keep."""
    open_requests = 0
    """The value of `in_flight` at the next `flush`: to change the gauge itself takes 1 us."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        self.requests = Counter(
            "vae_http_requests_total", "Answered requests.", ["route", "method", "status"], registry=registry
        )
        """How many requests does each endpoint receive, and what share of them fails?"""

        self.duration = BulkHistogram(
            "vae_http_request_duration_seconds",
            "From the request's headers to the response's headers, or to the client's disconnection, in "
            "seconds.",
            ["route", "method"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        """How long do callers wait at each endpoint until their response begins?"""

        self.stream = BulkHistogram(
            "vae_http_response_stream_seconds",
            "From the response's headers to its end, of responses that are sent in parts, in seconds.",
            ["route", "method"],
            buckets=_STREAM_BUCKETS_S,
            registry=registry,
        )
        """How long do streamed responses take after their beginning?"""

        self.phase = BulkHistogram(
            "vae_request_phase_seconds",
            "Part of a request spent reading, waiting, parsing, running the model and encoding, in seconds.",
            ["phase"],
            buckets=_PHASE_BUCKETS_S,
            registry=registry,
        )
        """Where does a request's time go: the network, the queue, the codecs or the model?"""

        self.in_flight = Gauge(
            "vae_http_requests_in_flight",
            "Requests being answered at this moment.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        """Is work piling up?"""

        self.problems = Counter(
            "vae_problems_total", "Problem responses by code.", ["code"], registry=registry
        )
        """Which mistakes do callers make, and which are ours?"""

        self.connections_closed = Counter(
            "vae_connections_closed_total",
            "Connections closed without a response: silent (no request came in time).",
            ["reason"],
            registry=registry,
        )
        """How many connections are opened and not used: by browsers, balancers, checks of the port?"""

        self.images = BulkHistogram(
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
        """How many bytes come in?"""

        self.ready = Gauge(
            "vae_ready",
            "1 when /readyz returns 200, else 0; of several workers, 1 when all are ready.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        """Is this instance able to answer?"""

        self.model_info = Gauge(
            "vae_model_info",
            "1 for each loaded version; of several workers, the number that have it.",
            ["model", "kind"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        """Which versions does this instance serve?"""

        self.load_failures = Gauge(
            "vae_model_load_failures",
            "Versions that were refused when they were last loaded.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        """Does the store have a fault?"""

        self.queue_images = Gauge(
            "vae_queue_images",
            "Images that wait for a model at this moment; of several workers, in the longest queue.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        """How near is the bound beyond which requests are refused?"""

        self.model_runs = Counter(
            "vae_model_runs_total", "Batches run.", ["model", "graph"], registry=registry
        )
        """How many runs do the images of all requests take: is batching earning anything?"""

        self.run_seconds = Counter(
            "vae_model_run_seconds_total",
            "Time spent in model runs, in seconds, all workers together.",
            ["model", "graph"],
            registry=registry,
        )
        """How much of the cores goes into the models?"""

        self.batch_images = BulkHistogram(
            "vae_model_batch_images",
            "Images in one batch.",
            ["model", "graph"],
            buckets=_IMAGE_BUCKETS,
            registry=registry,
        )
        """How large do batches become under the present load?"""

        self.batched_requests = Counter(
            "vae_model_batched_requests_total",
            "Requests, or parts of large ones, in all batches.",
            ["model", "graph"],
            registry=registry,
        )
        """How many requests share a run?"""

        self.queue_wait_seconds = Counter(
            "vae_queue_wait_seconds_total",
            "Time that requests have waited for their first run, in seconds, all together.",
            ["model", "graph"],
            registry=registry,
        )
        """How long does a request wait, on average, for each graph?"""

        self.dropped_images = Counter(
            "vae_dropped_images_total",
            "Images that were accepted and never run: deadline, left (the caller), stopped.",
            ["model", "graph", "reason"],
            registry=registry,
        )
        """Does the server accept more than it can process in time?"""

        self.loads = Counter(
            "vae_model_loads_total", "Versions loaded or refused.", ["model", "result"], registry=registry
        )
        """Did the last promotion take effect, or was the version refused?"""

        self.load_seconds = Counter(
            "vae_model_load_seconds_total",
            "Time spent verifying, loading and checking versions, in seconds.",
            registry=registry,
        )
        """What does a reload cost?"""

        self._process, self.inferences, self.versions = (
            ProcessMetrics(registry),
            InferenceMetrics(registry),
            VersionMetrics(registry),
        )
        self._known_models: set[tuple[str, str]] = set()
        self.engine = EngineMetrics(self)

        # State of `observe_request`. Only the event loop touches these.
        self._requests: dict[tuple[str, str, str], int] = {}
        self._problems: dict[str, int] = {}
        self._body_bytes, self.flushed_too = 0, []
        self._durations, self._streams, self._phases, self._images = (
            Tallies(self.duration, DURATION_BUCKETS_S),
            Tallies(self.stream, _STREAM_BUCKETS_S),
            Tallies(self.phase, _PHASE_BUCKETS_S),
            Tallies(self.images, _IMAGE_BUCKETS),
        )

    def observe_models(
        self, *, loaded: list[tuple[str, str]], failures: int, ready: bool, waiting_images: int
    ) -> None:
        """Set the gauges of this moment; `loaded` contains (label, kind) of each version."""
        now = set(loaded)
        for label, kind in self._known_models - now:
            if os.environ.get(SHARED_DIRECTORY):  # a shared value can only be changed, not removed
                self.model_info.labels(label, kind).set(0)
            else:
                self.model_info.remove(label, kind)
        for label, kind in now:
            self.model_info.labels(label, kind).set(1)
        self._known_models = now
        self.load_failures.set(failures)
        self.ready.set(1 if ready else 0)
        self.queue_images.set(waiting_images)
        self._process.observe()

    def observe_log(self, lost: int) -> None:
        """Set the number of log lines that this process has lost since its start."""
        self._process.observe_log(lost)

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
        stream_s: float | None = None,
    ) -> None:
        """Count one answered request: quickly, in plain numbers that `flush` adds to the metrics."""
        template = route or "none"
        known_method = method if method in _METHODS else "other"
        text = str(status)
        key = (template, known_method, text)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations.add((template, known_method), duration_s)
        if model is not None:
            self.versions.observe(model, status=text, duration_s=duration_s)
        if stream_s is not None:
            self._streams.add((template, known_method), stream_s)
        self.observe_work(
            phases=phases,
            code=code,
            image_labels=(model, template) if model is not None and status < 400 else None,
            images=images,
            body_bytes=body_bytes,
        )

    def observe_work(
        self,
        *,
        phases: dict[str, float],
        code: str | None,
        image_labels: tuple[str, str] | None,
        images: int,
        body_bytes: int,
    ) -> None:
        """The part of a request that does not depend on its protocol.

        Args:
            phases: Seconds by name.
            code: Code of the problem.
            image_labels: Model and route of a successful request that had a model.
            images: Number of images.
            body_bytes: Received bytes.
        """
        self._phases.add_each(phases)
        if code is not None:
            self._problems[code] = self._problems.get(code, 0) + 1
        if images and image_labels is not None:
            self._images.add(image_labels, images)
        self._body_bytes += body_bytes

    def flush(self) -> None:
        """Add the counts of `observe_request` since the previous call to the metrics."""
        for labels, count in self._requests.items():
            self.requests.labels(*labels).inc(count)
        for code, count in self._problems.items():
            self.problems.labels(code).inc(count)
        self._requests.clear()
        self._problems.clear()
        self.body_bytes.inc(self._body_bytes)
        self._body_bytes = 0
        self.in_flight.set(self.open_requests)
        for tallies in (self._durations, self._streams, self._phases, self._images):
            tallies.flush()
        self.engine.flush()
        self.versions.flush()
        for flush in self.flushed_too:
            flush()
        self.inferences.flush()

    def render(self) -> bytes:
        """Prometheus text, format 0.0.4.

        With several workers: all of them, up to a second old for the others.

        Counts, times and most gauges are sums. A gauge whose bound belongs to one process is the largest of
        any worker, so that it is comparable with the bound.
        """
        self.flush()
        if not os.environ.get(SHARED_DIRECTORY):
            return bytes(generate_latest(self.registry))
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(shared))


def share_as(worker: int) -> None:
    """Let this process use the files of worker number `worker`, and continue their counts.

    prometheus_client creates new files for each process id. Those of dead workers would have to stay for the
    sums, and a worker that dies repeatedly would fill the directory. Call it before any metric is created.
    """
    shared_values.ValueClass = shared_values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


class EngineMetrics:
    """The engine's observer: collects plain numbers, from any thread, until they are added in bulk."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._batches = Tallies(metrics.batch_images, _IMAGE_BUCKETS)
        self._counts: dict[tuple[Counter, tuple[str, ...]], float] = {}

    def queued(self, model: str, graph: str, images: int) -> None:
        """The gauge of the queue is set on each scrape."""

    def run(self, model: str, graph: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        """One batch."""
        metrics, labels = self._metrics, (model, graph)
        with self._lock:
            self._batches.add(labels, rows)
            self._add(metrics.model_runs, labels, 1)
            self._add(metrics.run_seconds, labels, run_s)
            self._add(metrics.queue_wait_seconds, labels, wait_s)
            self._add(metrics.batched_requests, labels, jobs)

    def loaded(self, model: str, result: str, seconds: float) -> None:
        """One version verified, loaded and checked, or refused."""
        with self._lock:
            self._add(self._metrics.loads, (model, result), 1)
            self._add(self._metrics.load_seconds, (), seconds)

    def dropped(self, model: str, graph: str, reason: str, images: int) -> None:
        """Images accepted and never run."""
        with self._lock:
            self._add(self._metrics.dropped_images, (model, graph, reason), images)

    def flush(self) -> None:
        """Add the collected numbers."""
        with self._lock:
            self._batches.flush()
            for (counter, labels), amount in self._counts.items():
                (counter.labels(*labels) if labels else counter).inc(amount)
            self._counts.clear()

    def _add(self, counter: Counter, labels: tuple[str, ...], amount: float) -> None:
        key = (counter, labels)
        self._counts[key] = self._counts.get(key, 0.0) + amount
