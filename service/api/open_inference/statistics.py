"""Counts and times of each model of the protocol, since the start of the process.

Knows names, rows and nanoseconds. Knows nothing of requests or messages. The times come
from the trace of each request, as do its log line and its metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.api.open_inference.names import ServedModel
from service.engine import Batch
from service.http.document import Document
from service.observability.request_trace import Trace

_NS_PER_S = 1_000_000_000


class Duration(Document):
    """A number of requests, or of runs, and their time together."""

    count: int
    """How many."""
    ns: int
    """Nanoseconds, all together."""


class InferenceStatistics(Document):
    """Where the time of all requests went."""

    success: Duration
    """Answered requests, from their arrival to their finished response."""
    fail: Duration
    """Requests with an error after the model was known."""
    queue: Duration
    """Waiting for a model run."""
    compute_input: Duration
    """Reading tensors from the request."""
    compute_infer: Duration
    """Model runs."""
    compute_output: Duration
    """Writing tensors into the response."""
    cache_hit: Duration
    """Nothing is cached: 0."""
    cache_miss: Duration
    """Nothing is cached: 0."""


class BatchStatistics(Document):
    """Runs of one size. A run that several requests share counts once."""

    batch_size: int
    """Rows of the run."""
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Document):
    """One model of the protocol."""

    name: str
    version: str
    last_inference: int
    """Milliseconds since 1970 of the last answered request; 0: none."""
    inference_count: int
    """Rows of answered requests."""
    execution_count: int
    """Runs for them."""
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


@dataclass(slots=True)
class _Sum:
    count: float = 0
    s: float = 0.0

    def add(self, seconds: float, count: float = 1) -> None:
        self.count += count
        self.s += seconds

    def document(self) -> Duration:
        return Duration(count=round(self.count), ns=round(self.s * _NS_PER_S))


_PHASES = {"queue": "queue", "parse": "compute_input", "run": "compute_infer", "encode": "compute_output"}


@dataclass(slots=True)
class _Kept:
    last_ms: int = 0
    rows: int = 0
    runs: float = 0.0
    success: _Sum = field(default_factory=_Sum)
    fail: _Sum = field(default_factory=_Sum)
    phases: dict[str, _Sum] = field(default_factory=lambda: {phase: _Sum() for phase in _PHASES})
    sizes: dict[int, _Sum] = field(default_factory=dict)


class Statistics:
    """The statistics of one process. Only the event loop calls it."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    def succeeded(self, model: ServedModel, trace: Trace, *, rows: int, batches: Iterable[Batch]) -> None:
        """Count an answered request.

        Args:
            model: The model that answered.
            trace: The times of the request so far.
            rows: Rows of the request.
            batches: The runs that contained its rows.
        """
        kept = self._of(model)
        kept.last_ms = round(self._wall_clock() * 1000)
        kept.rows += rows
        kept.success.add(trace.elapsed_s())
        for phase, total in kept.phases.items():
            total.add(trace.phases.get(phase, 0.0))
        for batch in batches:
            share = 1.0 / batch.calls
            kept.runs += share
            kept.sizes.setdefault(batch.rows, _Sum()).add(batch.run_s * share, share)

    def failed(self, model: ServedModel, trace: Trace) -> None:
        """Count a request whose response is an error."""
        self._of(model).fail.add(trace.elapsed_s())

    def of(self, model: ServedModel) -> ModelStatistics:
        """The statistics of one model; zeros before its first request."""
        kept = self._kept.get((model.name, model.version), _Kept())
        none = Duration(count=0, ns=0)
        return ModelStatistics(
            name=model.name,
            version=model.version,
            last_inference=kept.last_ms,
            inference_count=kept.rows,
            execution_count=round(kept.runs),
            inference_stats=InferenceStatistics(
                success=kept.success.document(),
                fail=kept.fail.document(),
                cache_hit=none,
                cache_miss=none,
                **{_PHASES[phase]: total.document() for phase, total in kept.phases.items()},
            ),
            batch_stats=[
                BatchStatistics(
                    batch_size=size, compute_input=none, compute_infer=total.document(), compute_output=none
                )
                for size, total in sorted(kept.sizes.items())
            ],
        )

    def _of(self, model: ServedModel) -> _Kept:
        return self._kept.setdefault((model.name, model.version), _Kept())
