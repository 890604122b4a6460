"""Percentiles, windows and the drawing of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from service.bench.histogram import draw_histogram
from service.bench.stability import WindowFigures, is_stable
from service.bench.statistics import Latency


def test_percentiles_are_latencies_that_were_measured() -> None:
    latency = Latency.of(np.arange(1, 1001) / 1e3)
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms) == pytest.approx((500, 900, 990))
    assert (latency.min_ms, latency.max_ms, latency.mean_ms) == pytest.approx((1, 1000, 500.5))
    assert latency.p99_9_ms in (pytest.approx(999), pytest.approx(1000))  # 99.9 % of 1000 is not exact


def test_no_latencies_have_no_percentiles() -> None:
    assert set(Latency.of(np.array([])).as_dict().values()) == {None}


@pytest.mark.parametrize(
    ("windows", "stable"),
    [
        ([(100, 5), (100, 5)], False),
        ([(100, 5), (100, 5), (100, 5)], True),
        ([(10, 50), (100, 5), (108, 5.2), (95, 4.8)], True),
        ([(100, 5), (100, 5), (125, 5)], False),
        ([(100, 5), (100, 5), (100, 8)], False),
        ([(0, float("nan"))] * 3, False),
    ],
)
def test_three_windows_must_agree_in_throughput_and_p99(
    windows: list[tuple[float, float]], stable: bool
) -> None:
    assert is_stable([WindowFigures(*window) for window in windows]) is stable


def test_histogram_counts_every_latency_once_on_a_log_axis() -> None:
    rng = np.random.default_rng(0)
    latency_s = rng.lognormal(-6, 1, 5000)
    drawn = draw_histogram(latency_s, width=72)
    rows = re.findall(r"^ *([\d.]+) – +([\d.]+) .*? ([\d,]+)$", drawn, re.MULTILINE)
    assert sum(int(count.replace(",", "")) for *_, count in rows) == 5000
    widths = [float(high) / float(low) for low, high, _ in rows]
    assert max(widths) / min(widths) < 1.05
    assert max(map(len, drawn.splitlines())) <= 72


def test_histogram_points_at_percentiles_and_draws_the_smallest_row() -> None:
    latency_s = np.array([0.001] * 10_000 + [0.5])
    drawn = draw_histogram(latency_s, {"p50": 1.0, "p99.9": 500.0}).splitlines()
    assert drawn[1].endswith("p50")
    assert drawn[-1].endswith("p99.9")
    assert "▏" in drawn[-1]
    assert len(drawn) <= 21


@pytest.mark.parametrize("latency_s", [[], [0.0], [0.002], [1e-7, 1e3]])
def test_histogram_can_draw_whatever_comes(latency_s: list[float]) -> None:
    assert 1 <= len(draw_histogram(np.array(latency_s)).splitlines()) <= 21
