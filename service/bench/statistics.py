"""Percentiles of latencies.

Knows arrays of seconds. Knows nothing of requests. Every latency is kept, so percentiles are exact.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Latency:
    """In milliseconds. Without requests, everything is NaN."""

    mean_ms: float
    min_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float

    @classmethod
    def of(cls, latency_s: NDArray[np.float64]) -> Latency:
        """Mean, extremes and percentiles of these latencies; NaN when there are none."""
        if latency_s.size == 0:
            nan = math.nan
            return cls(nan, nan, nan, nan, nan, nan, nan, nan)
        ms = latency_s * 1e3
        # The smallest latency that so many requests did not exceed: a measured one.
        p50, p90, p95, p99, p99_9 = map(float, np.percentile(ms, PERCENTILES, method="inverted_cdf"))
        return cls(float(ms.mean()), float(ms.min()), p50, p90, p95, p99, p99_9, float(ms.max()))

    @property
    def marks(self) -> dict[str, float]:
        """The percentiles that a histogram marks."""
        return {"p50": self.p50_ms, "p90": self.p90_ms, "p99": self.p99_ms, "p99.9": self.p99_9_ms}

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}
