"""Metrics of the Open Inference Protocol: counts and times of each of its models.

Knows names, rows and seconds. Knows nothing of requests. The statistics of the protocol are these numbers, so
with several workers each returns the sums of all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

#: Names the directory in which prometheus_client shares the values of workers. The supervisor sets it.
SHARED_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
#: Parts of the time of an answered request.
PARTS: Final = ("queue", "input", "infer", "output")
_REQUESTS: Final = "vae_inference_requests"
_REQUEST_SECONDS: Final = "vae_inference_request_seconds"
_PART_SECONDS: Final = "vae_inference_part_seconds"
_ROWS: Final = "vae_inference_rows"
_RUNS: Final = "vae_inference_runs"
_LAST: Final = "vae_inference_last_success_timestamp_seconds"


@dataclass(slots=True)
class InferenceTotals:
    """The sums of one model of the protocol."""

    success: float = 0
    """Answered requests."""
    success_s: float = 0.0
    """Their time, from arrival to the finished response."""
    fail: float = 0
    """Requests with an error."""
    fail_s: float = 0.0
    rows: float = 0
    """Rows of answered requests."""
    runs: float = 0.0
    """Runs for them; a run that several requests share is a part of a run for each."""
    last_s: float = 0.0
    """Seconds since 1970 of the last answered request; 0: none."""
    parts_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """Time of answered requests by part."""


class InferenceMetrics:
    """Counts in plain numbers, which `flush` adds to the metrics. Only the event loop calls it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            _REQUESTS,
            "Requests of the Open Inference Protocol whose model is known, by result: success or fail.",
            ["model", "version", "result"],
            registry=registry,
        )
        """Which models of the protocol are used, and what share of their requests fails?"""

        self.request_seconds = Counter(
            _REQUEST_SECONDS,
            "Time of these requests from their arrival to their finished response, in seconds.",
            ["model", "version", "result"],
            registry=registry,
        )
        """How long does a request to a model take on average?"""

        self.part_seconds = Counter(
            _PART_SECONDS,
            "Time of answered requests by part: queue, input, infer and output, in seconds.",
            ["model", "version", "part"],
            registry=registry,
        )
        """Where does the time of a model's requests go?"""

        self.rows = Counter(_ROWS, "Rows of answered requests.", ["model", "version"], registry=registry)
        """How many rows does each model of the protocol handle?"""

        self.runs = Counter(
            _RUNS, "Runs for these rows; a shared run is divided.", ["model", "version"], registry=registry
        )
        """How many rows share a run?"""

        self.last_success = Gauge(
            _LAST,
            "Time of the last answered request, in seconds since 1970.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="max",
        )
        """Is a model still in use?"""

        self._totals: dict[tuple[str, str], InferenceTotals] = {}
        self._flushed: dict[tuple[str, str], InferenceTotals] = {}

    def of(self, model: str, version: str) -> InferenceTotals:
        """The sums of this process for one model, to add to."""
        found = self._totals.get((model, version))
        if found is None:
            found = self._totals[model, version] = InferenceTotals()
        return found

    @property
    def is_shared(self) -> bool:
        """Whether several workers add to the same metrics."""
        return bool(os.environ.get(SHARED_DIRECTORY))

    def flush(self) -> None:
        """Add the changes since the previous call to the metrics."""
        for key, now in self._totals.items():
            before = self._flushed.get(key, InferenceTotals())
            for counter, result, count in (
                (self.requests, "success", now.success - before.success),
                (self.requests, "fail", now.fail - before.fail),
                (self.request_seconds, "success", now.success_s - before.success_s),
                (self.request_seconds, "fail", now.fail_s - before.fail_s),
            ):
                counter.labels(*key, result).inc(max(0.0, count))
            for part in PARTS:
                changed = now.parts_s[part] - before.parts_s[part]
                self.part_seconds.labels(*key, part).inc(max(0.0, changed))
            self.rows.labels(*key).inc(now.rows - before.rows)
            self.runs.labels(*key).inc(max(0.0, now.runs - before.runs))
            self.last_success.labels(*key).set(now.last_s)
            self._flushed[key] = InferenceTotals(
                now.success,
                now.success_s,
                now.fail,
                now.fail_s,
                now.rows,
                now.runs,
                now.last_s,
                dict(now.parts_s),
            )

    def totals(self) -> Mapping[tuple[str, str], InferenceTotals]:
        """The sums by model and version; with several workers of all, up to a second old for the others."""
        if not self.is_shared:
            return self._totals
        self.flush()
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        found: dict[tuple[str, str], InferenceTotals] = {}
        for family in shared.collect():
            if not family.name.startswith("vae_inference_"):
                continue
            for sample in family.samples:
                key = sample.labels["model"], sample.labels["version"]
                _add(found.setdefault(key, InferenceTotals()), family.name, sample.labels, sample.value)
        return found


def _add(totals: InferenceTotals, name: str, labels: Mapping[str, str], value: float) -> None:
    """One sample of the metrics."""
    result, part = labels.get("result"), labels.get("part")
    if name == _REQUESTS:
        setattr(totals, str(result), value)
    elif name == _REQUEST_SECONDS:
        setattr(totals, f"{result}_s", value)
    elif name == _PART_SECONDS:
        totals.parts_s[str(part)] = value
    elif name == _ROWS:
        totals.rows = value
    elif name == _RUNS:
        totals.runs = value
    elif name == _LAST:
        totals.last_s = value
