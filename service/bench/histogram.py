"""Latencies plotted in the terminal: rows of equal width on a log axis, with percentiles.

Knows latencies and characters. Knows nothing of requests. The axis is logarithmic, because a tail that is a
hundred times as slow as the median belongs in the same plot. A row with few requests is never empty.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_EIGHTHS = " ▏▎▍▌▋▊▉█"
#: 1, 1.25, 1.6, 2 … 10: the Renard series R10 of engineering.
_STEPS_OF_A_DECADE = 10


def draw_histogram(
    latency_s: NDArray[np.float64],
    marks: Mapping[str, float] | None = None,
    *,
    width: int = 72,
    most_rows: int = 20,
) -> str:
    """Several lines.

    Args:
        latency_s: Seconds.
        marks: Name → milliseconds, printed in the row that contains it.
        width: Columns in all, at least 40.
        most_rows: Maximum number of rows; the axis becomes coarser.
    """
    ms = latency_s[latency_s > 0] * 1e3
    if ms.size == 0:
        return "no latencies"
    edges = _edges(float(ms.min()), float(ms.max()), most_rows)
    counts = np.histogram(ms, edges)[0]
    beside = [
        " ".join(
            name
            for name, value in (marks or {}).items()
            if low <= value < high or (high == edges[-1] and value == high)
        )
        for low, high in itertools.pairwise(edges)
    ]
    numbers = max(len(f"{count:,}") for count in counts)
    room = max(8, width - 17 - numbers - 2 - max(map(len, beside)) - 1)
    most = int(counts.max())
    lines = []
    for low, high, count, mark in zip(edges, edges[1:], counts, beside, strict=False):
        axis = f"{_text(low):>6} – {_text(high):>6} "
        lines.append(f"{axis} {_bar(int(count), most, room):<{room}} {count:>{numbers},} {mark}".rstrip())
    return "\n".join([f"{'ms':>6}", *lines])


def _edges(low: float, high: float, most_rows: int) -> list[float]:
    """Round numbers on a log axis that enclose both."""
    step = 1
    while True:
        per_row = _STEPS_OF_A_DECADE / step
        first = math.floor(math.log10(low) * per_row + 1e-9)
        last = math.floor(math.log10(high) * per_row + 1e-9) + 1
        if last - first <= most_rows:
            return [float(10 ** (at / per_row)) for at in range(first, last + 1)]
        step += 1


def _bar(count: int, most: int, width: int) -> str:
    eighths = round(count / most * width * 8)
    if count and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _text(ms: float) -> str:
    """Three significant digits, no exponent."""
    if ms >= 100:
        return f"{ms:.0f}"
    if ms < 1:
        return f"{ms:.3f}"
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"
