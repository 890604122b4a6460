"""Histograms that accept observations in bulk.

Knows prometheus_client and NumPy. Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram

#: Observations of one series that wait to be sorted into its buckets.
_MOST_WAITING: Final = 256


class BulkHistogram(Histogram):
    """A histogram that accepts many observations at once, already sorted into its buckets."""

    def add(self, counts: list[int], total: float) -> None:
        """`counts[i]` observations in bucket i, the last one beyond every bound; `total` is their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Tallies:
    """Observations of one histogram, as plain numbers by label values until they are added in bulk.

    prometheus_client takes 3 us for an observation, most of it to find the labels and to lock; a request
    makes eight of them. Here each is put into a list, and a full list is sorted into counts of the buckets at
    once. Only `flush` changes the histogram, so that a scrape sees it together with the counters.
    """

    def __init__(self, histogram: BulkHistogram, bounds: tuple[float, ...]) -> None:
        self._histogram = histogram
        self._bounds = np.array(bounds)
        self._waiting: dict[tuple[str, ...] | str, list[float]] = {}
        self._sorted: dict[tuple[str, ...] | str, tuple[NDArray[np.int64], float]] = {}
        """Count of each bucket, and the sum."""

    def add(self, labels: tuple[str, ...] | str, value: float) -> None:
        """Count one observation. A single label may come without its tuple."""
        waiting = self._waiting.get(labels)
        if waiting is None:
            waiting = self._waiting[labels] = []
        waiting.append(value)
        if len(waiting) >= _MOST_WAITING:
            self._sort(labels, waiting)

    def add_each(self, values: Mapping[str, float]) -> None:
        """Count one observation for each single label."""
        every = self._waiting
        for label, value in values.items():
            waiting = every.get(label)
            if waiting is None:
                waiting = every[label] = []
            waiting.append(value)
            if len(waiting) >= _MOST_WAITING:
                self._sort(label, waiting)

    def flush(self) -> None:
        """Add the observations to the histogram."""
        for labels, waiting in self._waiting.items():
            if waiting:
                self._sort(labels, waiting)
        for labels, (counts, total) in self._sorted.items():
            names = (labels,) if isinstance(labels, str) else labels
            self._histogram.labels(*names).add(counts.tolist(), total)
        self._sorted.clear()

    def _sort(self, labels: tuple[str, ...] | str, waiting: list[float]) -> None:
        values = np.array(waiting)
        waiting.clear()
        places = np.searchsorted(self._bounds, values)  # a bound belongs to its bucket
        counts = np.bincount(places, minlength=len(self._bounds) + 1)
        before, total = self._sorted.get(labels, (0, 0.0))
        self._sorted[labels] = counts + before, total + float(values.sum())
