"""`make bench ARGS=ray`: server CPU of a request through Ray Serve, and of the same at plain `vae-serve`.

Knows both servers and /proc. Server CPU for each request, over every process of a server, because client and
servers share the cores. Both run at the same time, and are asked in turns: what a neighbour costs, it costs
both. Ray's processes compute between requests too, and that counts.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from process_facts import cpu_s
from ray_cluster import NOT_INSTALLED, RayCluster, is_installed, ray_cluster
from ray_load import fixed

from comparison.pair import Pair
from comparison.processes import Started, free_ports, started
from comparison.systems import FOLDER, npy_batch
from comparison.wrk import Question, run_wrk

#: Workers of `vae-serve`, and replicas of Ray, each with one thread.
_PROCESSES = 2
PLAIN, RAY = "vae-serve", "Ray Serve"


@dataclass(frozen=True)
class Measure:
    """A request, at a number of connections, and the least share of plain requests per CPU second by pair."""

    name: str
    question: Callable[[Pair], Question]
    connections: int
    bars: dict[str, float]


MEASURES = (
    Measure(
        "JSON 1 image, 32 connections",
        lambda pair: Question("POST", "/encode", content_type="application/json", body=pair.one),
        32,
        {"mlp": 0.25, "bundled": 0.25},
    ),
    Measure("npy 64 images, 4 connections", npy_batch, 4, {"mlp": 0.4, "bundled": 0.5}),
)


def measure_ray(
    pairs: Sequence[Pair], *, rounds: int, window_s: float, say: Callable[[str], None]
) -> tuple[str, bool]:
    """A Markdown table of CPU µs for each request, and whether each bar is met.

    Raises:
        RuntimeError: Ray is not installed.
    """
    if not is_installed():
        raise RuntimeError(NOT_INSTALLED)
    lines, met = [], True
    for pair in pairs:
        costs = _costs(pair, rounds=rounds, window_s=window_s)
        for measure, (plain_us, ray_us) in zip(MEASURES, costs, strict=True):
            share, bar = plain_us / ray_us, measure.bars[pair.name]
            met = met and share >= bar
            lines.append(table_row(f"{pair.title}, {measure.name}", plain_us, ray_us, bar))
            say(lines[-1])
    head = f"| CPU µs a request | {PLAIN} | {RAY} | per CPU second, Ray ÷ plain |"
    return "\n".join([head, "| --- | ---: | ---: | ---: |", *lines]), met


def table_row(title: str, plain_us: float, ray_us: float, bar: float) -> str:
    """A line of the table."""
    share = plain_us / ray_us
    said = f"{share:.2f} (≥ {bar})" if share >= bar else f"**{share:.2f}, missed** (≥ {bar})"
    return f"| {title} | {plain_us:,.0f} | {ray_us:,.0f} | {said} |"


def _costs(pair: Pair, *, rounds: int, window_s: float) -> list[tuple[float, float]]:
    """CPU µs of plain `vae-serve` and of Ray, for each of `MEASURES`."""
    with _plain(pair) as plain, _on_ray(pair) as ray:
        turns: list[tuple[int, Callable[[], list[int]]]] = [
            (plain.port, plain.family),
            (ray.port, lambda: list(ray.pids)),
        ]
        found = []
        for measure in MEASURES:
            samples: tuple[list[float], list[float]] = ([], [])
            for number in range(rounds + 1):
                for (port, pids), costs in zip(turns, samples, strict=True):
                    cost = _cost_us(measure, pair, port, pids, window_s)
                    if number:  # the first is a warm-up
                        costs.append(cost)
            found.append((statistics.median(samples[0]), statistics.median(samples[1])))
        return found


def _cost_us(
    measure: Measure, pair: Pair, port: int, pids: Callable[[], list[int]], window_s: float
) -> float:
    """Of one window; the time that wrk takes for its start and end is without requests, and counts."""
    before_s, begun_s = _cpu_s(pids()), time.monotonic()
    window = run_wrk(measure.question(pair), port, concurrency=measure.connections, window_s=window_s)
    if window.failed:
        raise RuntimeError(f"{measure.name}, port {port}: {window.failed} requests failed")
    # wrk tells a rate: it counts what is answered within its own time.
    share = min(1.0, window_s / (time.monotonic() - begun_s))
    return 1e6 * share * (_cpu_s(pids()) - before_s) / (window.per_s * window_s)


def _cpu_s(pids: Sequence[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has just ended
            total += cpu_s(pid)
    return total


@contextlib.contextmanager
def _plain(pair: Pair) -> Iterator[Started]:
    (port,) = free_ports(1)
    command = [
        sys.executable, "-m", "service", "run", "--store", str(pair.store), "--port", str(port),
        "--workers", str(_PROCESSES), "--threads", "1", "--access-log", "errors",
    ]  # fmt: skip
    with started(
        command,
        port=port,
        ready_path="/readyz",
        log=pair.home / "plain.log",
        environment={},
        folder=FOLDER.parents[1],
    ) as server:
        yield server


@contextlib.contextmanager
def _on_ray(pair: Pair) -> Iterator[RayCluster]:
    with ray_cluster(cores=_PROCESSES) as cluster:
        settings = {"model_store": str(pair.store), "access_log": "errors"}
        cluster.deploy(cluster.configuration(settings=settings, **fixed(_PROCESSES)), replicas=_PROCESSES)
        yield cluster
