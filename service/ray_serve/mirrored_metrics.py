"""The metrics of one replica, copied to Ray's, whose agents export those of every replica.

Knows the samples of prometheus_client, and gauges that are set by their labels. Knows nothing of what is
measured. `/metrics` behind Ray's proxy is that of one replica, chosen by chance.

Each sample is a gauge of its name: Ray has no counter that can be set, and no histogram that takes counts.
PromQL's `rate` and `histogram_quantile` read the names and the label `le`, and not the type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry

#: The time of creation of each series, which Prometheus does not need.
_CREATED = "_created"


class Gauge(Protocol):
    """The required part of `ray.serve.metrics.Gauge`, which adds the names of deployment and replica."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Set the value of one series."""


#: Makes a gauge from its name, its description and the names of its labels.
MakeGauge = Callable[[str, str, tuple[str, ...]], Gauge]


class MirroredMetrics:
    """Copies a registry into gauges. One thread uses it."""

    def __init__(self, registry: CollectorRegistry, make_gauge: MakeGauge) -> None:
        """Nothing is copied yet."""
        self._registry = registry
        self._make_gauge = make_gauge
        self._gauges: dict[tuple[str, tuple[str, ...]], Gauge] = {}
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], Gauge] = {}

    def copy(self) -> int:
        """Set every gauge; a series that is gone becomes 0, because Ray would keep its last value.

        Returns:
            The number of series.
        """
        present = {}
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name.endswith(_CREATED):
                    continue
                labels = dict(sample.labels)
                gauge = self._gauge(sample.name, family.documentation, tuple(sorted(labels)))
                gauge.set(float(sample.value), tags=labels)
                present[sample.name, tuple(sorted(labels.items()))] = gauge
        for key in self._series.keys() - present.keys():
            self._series[key].set(0.0, tags=dict(key[1]))
        self._series = present
        return len(present)

    def _gauge(self, name: str, description: str, labels: tuple[str, ...]) -> Gauge:
        found = self._gauges.get((name, labels))
        if found is None:
            found = self._gauges[name, labels] = self._make_gauge(name, description, labels)
        return found
