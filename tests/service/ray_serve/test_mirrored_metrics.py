"""What one replica counts reaches Ray's metrics, and what is gone does not stay there."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.ray_serve.mirrored_metrics import MirroredMetrics

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Kept:
    """A gauge that notes its series."""

    def __init__(self, name: str, labels: tuple[str, ...], series: Series) -> None:
        self._name, self._labels, self._series = name, labels, series

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(sorted(tags)) == self._labels, "Ray refuses labels that were not declared"
        self._series[self._name, tuple(sorted(tags.items()))] = value


def mirrored(registry: CollectorRegistry) -> tuple[MirroredMetrics, Series, list[str]]:
    series: Series = {}
    made: list[str] = []

    def make(name: str, description: str, labels: tuple[str, ...]) -> Kept:
        assert description
        made.append(name)
        return Kept(name, labels, series)

    return MirroredMetrics(registry, make), series, made


def test_counters_gauges_and_buckets_arrive_under_their_names() -> None:
    registry = CollectorRegistry()
    Counter("requests_total", "Requests.", ["route"], registry=registry).labels("/encode").inc(3)
    Gauge("ready", "Ready.", registry=registry).set(1)
    Histogram("seconds", "Time.", buckets=(0.5, 2.0), registry=registry).observe(1.0)
    mirror, series, made = mirrored(registry)
    assert mirror.copy() == len(series)
    assert series == {
        ("requests_total", (("route", "/encode"),)): 3.0,
        ("ready", ()): 1.0,
        ("seconds_bucket", (("le", "0.5"),)): 0.0,
        ("seconds_bucket", (("le", "2.0"),)): 1.0,
        ("seconds_bucket", (("le", "+Inf"),)): 1.0,
        ("seconds_count", ()): 1.0,
        ("seconds_sum", ()): 1.0,
    }
    before = list(made)
    mirror.copy()
    assert made == before, "a gauge is declared once"


def test_a_series_that_is_gone_becomes_zero_once() -> None:
    registry = CollectorRegistry()
    loaded = Gauge("model_info", "Loaded.", ["model"], registry=registry)
    loaded.labels("mnist@4").set(1)
    mirror, series, _ = mirrored(registry)
    mirror.copy()
    loaded.remove("mnist@4")
    loaded.labels("mnist@5").set(1)
    mirror.copy()
    expected = {("model_info", (("model", "mnist@4"),)): 0.0, ("model_info", (("model", "mnist@5"),)): 1.0}
    assert series == expected
    series.clear()
    mirror.copy()
    assert list(series) == [("model_info", (("model", "mnist@5"),))]
