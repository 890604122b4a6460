"""Counts and times of each model of the protocol, since the start of the server.

Knows names, rows and nanoseconds. Knows nothing of requests or messages. The times come
from the trace of each request, as do its log line and its metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final

from pydantic import Field

from service.api.open_inference.names import ServedModel
from service.engine import Batch
from service.http.document import Document
from service.observability.inference_metrics import InferenceMetrics, InferenceTotals
from service.observability.request_trace import Trace

_NS_PER_S: Final = 1_000_000_000
_MS_PER_S: Final = 1_000
#: Phases of a trace, and their names in the metrics, in the order of the protocol's statistics.
_PARTS: Final = (("queue", "queue"), ("parse", "input"), ("run", "infer"), ("encode", "output"))


class Duration(Document):
    """A number of requests, or of runs, and their time together."""

    count: Annotated[int, Field(examples=[12])]
    """How many."""
    ns: Annotated[int, Field(examples=[5_250_000])]
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

    batch_size: Annotated[int, Field(examples=[8])]
    """Rows of the run."""
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Document):
    """One model of the protocol."""

    name: Annotated[str, Field(examples=["mnist-encoder"])]
    version: Annotated[str, Field(examples=["4"])]
    last_inference: Annotated[int, Field(examples=[1_764_000_000_000])]
    """Milliseconds since 1970 of the last answered request; 0: none."""
    inference_count: Annotated[int, Field(examples=[96])]
    """Rows of answered requests."""
    execution_count: Annotated[int, Field(examples=[12])]
    """Runs for them."""
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]
    """Runs by their size; empty for a server with several workers."""


class StatisticsList(Document):
    """Statistics of models."""

    model_stats: list[ModelStatistics]


class Statistics:
    """The statistics of all models. Only the event loop calls it."""

    def __init__(self, metrics: InferenceMetrics, wall_clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._wall_clock = wall_clock
        #: Number and seconds of the runs by size, of this process alone.
        self._sizes: dict[tuple[str, str], dict[int, list[float]]] = {}

    def succeeded(self, model: ServedModel, trace: Trace, *, rows: int, batches: Iterable[Batch]) -> None:
        """Count an answered request.

        Args:
            model: The model that answered.
            trace: The times of the request so far.
            rows: Rows of the request.
            batches: The runs that contained its rows.
        """
        totals = self._metrics.of(model.name, model.version)
        totals.success += 1
        totals.success_s += trace.elapsed_s()
        totals.rows += rows
        totals.last_s = self._wall_clock()
        for phase, part in _PARTS:
            totals.parts_s[part] += trace.phases.get(phase, 0.0)
        sizes = self._sizes.setdefault((model.name, model.version), {})
        for batch in batches:
            share = 1.0 / batch.calls
            totals.runs += share
            size = sizes.setdefault(batch.rows, [0.0, 0.0])
            size[0] += share
            size[1] += share * batch.run_s

    def failed(self, model: ServedModel, trace: Trace) -> None:
        """Count a request whose response is an error."""
        totals = self._metrics.of(model.name, model.version)
        totals.fail += 1
        totals.fail_s += trace.elapsed_s()

    def of(self, models: Iterable[ServedModel]) -> StatisticsList:
        """The statistics of some models; zeros before the first request."""
        every = self._metrics.totals()
        return StatisticsList(model_stats=[self._document(model, every) for model in models])

    def _document(
        self, model: ServedModel, every: Mapping[tuple[str, str], InferenceTotals]
    ) -> ModelStatistics:
        key = (model.name, model.version)
        totals = every.get(key, InferenceTotals())
        answered = round(totals.success)
        queue, read, infer, write = (_duration(answered, totals.parts_s[part]) for _, part in _PARTS)
        sizes = {} if self._metrics.is_shared else self._sizes.get(key, {})
        return ModelStatistics(
            name=model.name,
            version=model.version,
            last_inference=round(totals.last_s * _MS_PER_S),
            inference_count=round(totals.rows),
            execution_count=round(totals.runs),
            inference_stats=InferenceStatistics(
                success=_duration(answered, totals.success_s),
                fail=_duration(totals.fail, totals.fail_s),
                queue=queue,
                compute_input=read,
                compute_infer=infer,
                compute_output=write,
                cache_hit=_NONE,
                cache_miss=_NONE,
            ),
            batch_stats=[
                BatchStatistics(
                    batch_size=size,
                    compute_input=_NONE,
                    compute_infer=_duration(count, seconds),
                    compute_output=_NONE,
                )
                for size, (count, seconds) in sorted(sizes.items())
            ],
        )


def _duration(count: float, seconds: float) -> Duration:
    return Duration(count=round(count), ns=round(seconds * _NS_PER_S))


_NONE: Final = Duration(count=0, ns=0)
