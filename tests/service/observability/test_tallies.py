"""Observations in bulk: the same buckets and sums as one by one."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.observability.tallies import BulkHistogram, Tallies

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def exposed(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#") and "_created" not in line]


def test_series_are_those_of_single_observations() -> None:
    """On a bound, below and beyond all; more than wait at a time, and some between two scrapes."""
    bulk, single = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies(BulkHistogram("t", "-", ["a", "b"], buckets=BOUNDS, registry=bulk), BOUNDS)
    wanted = Histogram("t", "-", ["a", "b"], buckets=BOUNDS, registry=single)
    values = [*BOUNDS, 0.0, 5.0, *(random.Random(0).choices((2**-12, 2**-7, 2**-3, 2.0), k=1000))]
    for number, value in enumerate(values):
        labels = ("x", "y") if number % 3 else ("x", "z")
        tallies.add(labels, value)
        wanted.labels(*labels).observe(value)
        if number % 400 == 0:
            tallies.flush()
    tallies.flush()
    tallies.flush()  # adds nothing twice
    as_numbers = [
        {line.rpartition(" ")[0]: round(float(line.rpartition(" ")[2]), 9) for line in exposed(registry)}
        for registry in (bulk, single)
    ]
    assert as_numbers[0] == as_numbers[1]


def test_single_label_comes_with_or_without_its_tuple() -> None:
    registry = CollectorRegistry()
    tallies = Tallies(BulkHistogram("t", "-", ["phase"], buckets=BOUNDS, registry=registry), BOUNDS)
    for _ in range(300):
        tallies.add_each({"read": 0.5, "run": 0.005})
    assert not [line for line in exposed(registry) if "read" in line], "only a flush changes the histogram"
    tallies.add("read", 0.5)
    tallies.add(("run",), 0.005)
    tallies.flush()
    lines = exposed(registry)
    assert 't_bucket{le="0.1",phase="read"} 0.0' in lines
    assert 't_count{phase="read"} 301.0' in lines
    assert 't_bucket{le="0.01",phase="run"} 301.0' in lines
