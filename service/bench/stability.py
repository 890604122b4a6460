"""When a measurement may end: three consecutive windows agree.

Knows figures of windows. Knows nothing of requests. The rule is that of Triton's perf_analyzer: throughput
and latency of each of the last three windows are within 10 % of their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WINDOWS: Final = 3
TOLERANCE: Final = 0.10


@dataclass(frozen=True)
class WindowFigures:
    """The figures that must agree."""

    ok_per_s: float
    p99_ms: float


def spread(values: Sequence[float]) -> float:
    """Largest distance from the mean, as a part of it; infinite without a mean."""
    mean = sum(values) / len(values)
    if not mean > 0:
        return float("inf")
    return max(abs(value - mean) for value in values) / mean


def is_stable(
    windows: Sequence[WindowFigures], *, count: int = WINDOWS, tolerance: float = TOLERANCE
) -> bool:
    """Whether the last `count` windows agree within `tolerance`."""
    last = windows[-count:]
    if len(last) < count:
        return False
    return (
        spread([window.ok_per_s for window in last]) <= tolerance
        and spread([window.p99_ms for window in last]) <= tolerance
    )
