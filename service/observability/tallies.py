"""Histograms that accept observations in bulk.

Knows prometheus_client. Knows nothing of what is measured.
"""

from __future__ import annotations

from bisect import bisect_left

from prometheus_client import Histogram


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
    makes eight of them.
    """

    def __init__(self, histogram: BulkHistogram, bounds: tuple[float, ...]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._kept: dict[tuple[str, ...], list[float]] = {}
        """Count of each bucket, then the sum."""

    def add(self, labels: tuple[str, ...], value: float) -> None:
        """Count one observation."""
        kept = self._kept.get(labels)
        if kept is None:
            kept = self._kept[labels] = [0] * (len(self._bounds) + 2)
        kept[bisect_left(self._bounds, value)] += 1
        kept[-1] += value

    def flush(self) -> None:
        """Add the observations to the histogram."""
        for labels, (*counts, total) in self._kept.items():
            self._histogram.labels(*labels).add([int(count) for count in counts], total)
        self._kept.clear()
