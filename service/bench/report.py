"""The results of a measurement, as text for people and as JSON for programs.

Knows results and words. Knows nothing of the measurement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bench.client import NO_ANSWER
from service.bench.histogram import draw_histogram
from service.bench.stability import WindowFigures
from service.bench.statistics import Latency


@dataclass(frozen=True)
class Report:
    """One finished measurement."""

    url: str
    model: str
    request: str
    """The requests, in words."""
    load: str
    """The load, in words."""
    images: int
    """Number of images in each request."""
    windows: Sequence[WindowFigures]
    stable: bool
    latency_s: NDArray[np.float64]
    """Latencies of the 2xx responses in the counted windows."""
    ok_per_s: float
    statuses: Counter[int]
    """Latencies of the whole measurement after the warm-up, in all windows."""
    reasons: Counter[str]
    waiting: int
    lag_ms: float
    client_cpu: float
    """Processor cores that this client used; near 1 it measures itself."""
    rate_per_s: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of requests without a 2xx response."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)

    def as_document(self) -> dict[str, Any]:
        """The machine-readable form; names end in their units."""
        return {
            "url": self.url,
            "model": self.model,
            "settings": self.settings,
            "stable": self.stable,
            "ok_per_s": self.ok_per_s,
            "images_per_s": self.ok_per_s * self.images,
            "latency": Latency.of(self.latency_s).as_dict(),
            "windows": [{"ok_per_s": w.ok_per_s, "p99_ms": _or_none(w.p99_ms)} for w in self.windows],
            "statuses": {str(status): count for status, count in sorted(self.statuses.items()) if status},
            "failed": self.failed,
            "no_answer": dict(self.reasons),
            "waiting": self.waiting,
            "client_cpu_cores": self.client_cpu,
            "client_lag_ms": self.lag_ms,
        }

    def as_text(self, *, width: int = 72) -> str:
        """The form for people; histogram bars are at most `width` columns wide."""
        latency = Latency.of(self.latency_s)
        lines = [
            f"{self.url}  {self.model}",
            f"{self.request}, {self.load}",
            "",
            _windows_line(self.windows, stable=self.stable, duration_s=self.settings.get("duration_s")),
            f"{self.ok_per_s:,.0f} requests/s"
            + (f", {self.ok_per_s * self.images:,.0f} images/s" if self.images > 1 else ""),
        ]
        if self.latency_s.size:
            lines += [
                f"p50 {latency.p50_ms:.2f}   p90 {latency.p90_ms:.2f}   p95 {latency.p95_ms:.2f}   "
                f"p99 {latency.p99_ms:.2f}   p99.9 {latency.p99_9_ms:.2f}   max {latency.max_ms:.2f} ms",
                "",
                draw_histogram(
                    self.latency_s,
                    latency.marks,
                    width=width,
                ),
            ]
        lines += ["", _answers_line(self.statuses, self.reasons)]
        return "\n".join([*lines, *self._warnings()])

    def _warnings(self) -> list[str]:
        said = []
        if self.rate_per_s is not None and self.ok_per_s < 0.95 * self.rate_per_s:
            said.append(
                f"The server did not keep up: {self.rate_per_s:,.0f} requests/s were due, and "
                f"{self.waiting:,} of them waited at the end of the measurement. Latencies grow as long as "
                "that continues."
            )
        if self.client_cpu > 0.8:
            said.append(
                f"This client used {self.client_cpu:.2f} cores: it may have measured itself. Spread the "
                "load over several clients."
            )
        if self.lag_ms > 10:
            said.append(
                f"This client was up to {self.lag_ms:.0f} ms late to send, which the latencies include: is "
                "the machine busy?"
            )
        return ["", *said] if said else []


def _windows_line(windows: Sequence[WindowFigures], *, stable: bool, duration_s: float | None) -> str:
    if duration_s is not None:
        return f"measured for {duration_s:g} s, all of it counts"
    if stable:
        return f"stable after {len(windows)} windows: the last three agree within 10 % in throughput and p99"
    return f"not stable after {len(windows)} windows: the last three do not agree within 10 %"


def _answers_line(statuses: Counter[int], reasons: Counter[str]) -> str:
    parts = [f"{count:,} × {status}" for status, count in sorted(statuses.items()) if status != NO_ANSWER]
    parts += [f"{count:,} × no answer ({reason})" for reason, count in reasons.most_common(5)]
    return "answers: " + (", ".join(parts) or "none")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
