"""`make bench-capacity`: measures costs, checks the simulation with two servers, and prints the tables.

    make bench-capacity                         about six minutes
    make bench-capacity ARGS=--quick            briefly; its figures mean little
    make bench-capacity ARGS=--write            and into docs/explanation/capacity.md

Exit codes: 0 the simulation agrees with the measurement; 1 it does not; 69 wrk or nginx is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from comparison.pair import REPOSITORY, Pair, bundled_pair
from comparison.systems import ONE_THREAD, ours

from capacity import fleet, measure, report
from capacity.measure import Cost, Workload

PAGE = REPOSITORY / "docs/explanation/capacity.md"
#: The figures that the simulation must reach: measured ÷ simulated requests per second.
_AGREES_WITHIN = 0.25
#: One image as JSON, and a batch as npy: the dearest and the cheapest image.
_SIMULATED = 2
_REPLICAS = (1, 10, 100, 1000)


def main() -> int:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short windows")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    given = parser.parse_args()
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            print(f"capacity: {tool} is missing; on Debian: apt-get install {tool}", file=sys.stderr)
            return 69
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    windows, window_s = (1, 3.0) if given.quick else (3, 3.0)
    with tempfile.TemporaryDirectory(prefix="capacity-") as name:
        home = Path(name)
        pair = bundled_pair(home)
        figures = report.Figures(time.strftime("%Y-%m-%d", time.gmtime()), load=os.getloadavg()[0])
        _costs(pair, home, figures, windows=windows, window_s=window_s)
        _two_servers(pair, home, figures, windows=windows, window_s=window_s)
        counts = (1, 11) if given.quick else (1, 51)
        figures.models = [measure.models(pair, count, home, watched_s=window_s) for count in counts]
        _say(str(figures.models))
    for workload, cost in figures.costs[:_SIMULATED]:
        request = report.request_of(workload, cost, figures)
        figures.fleets[workload.name] = fleet.table(
            [fleet.Fleet(count) for count in _REPLICAS], request, say=_say
        )
    text = report.markdown(figures)
    print(text)
    if given.write:
        report.write(PAGE, text)
    off = [abs(pair.ratio - 1) for pair in figures.checks]
    if max(off) > _AGREES_WITHIN:
        print(f"capacity: the simulation is off by {max(off):.0%}", file=sys.stderr)
        return 1
    return 0


def _costs(pair: Pair, home: Path, figures: report.Figures, *, windows: int, window_s: float) -> None:
    """One server alone, and one behind nginx."""
    with ours().start(pair, ONE_THREAD) as server:
        for bare in measure.workloads(pair):
            workload = measure.with_size(bare, server.port)
            cost = measure.cost(
                workload, server.port, [server],
                window_s=window_s, windows=windows,
            )  # fmt: skip
            figures.costs.append((workload, cost))
            _say(f"{workload.name}: {cost}")
        with measure.proxied([server], home / "one") as proxy:
            for workload, _ in figures.costs:
                figures.behind[workload.name] = measure.cost(
                    workload, proxy.port, [server], proxy=proxy,
                    window_s=window_s, windows=windows,
                )  # fmt: skip
        with measure.proxied([server], home / "cache", cache=True) as proxy:
            cached = measure.with_size(Workload("cached", measure.CACHED, 16, 0), proxy.port)
            figures.cached = (
                cached,
                measure.cost(
                    cached, proxy.port, [server], proxy=proxy,
                    window_s=window_s, windows=windows,
                ),
            )  # fmt: skip
            _say(f"cached: {figures.cached[1]}")
        uncached = Workload("uncached", measure.CACHED, 16, 0)
        figures.uncached = measure.cost(uncached, server.port, [server], window_s=window_s, windows=windows)


def _two_servers(pair: Pair, home: Path, figures: report.Figures, *, windows: int, window_s: float) -> None:
    """The whole set-up, measured and simulated."""
    with measure.two_servers(pair) as servers, measure.proxied(servers, home / "two") as proxy:
        for workload, _ in figures.costs:
            found: Cost = measure.cost(
                workload, proxy.port, servers, proxy=proxy,
                window_s=window_s, windows=windows,
            )  # fmt: skip
            behind = figures.behind[workload.name]
            request = fleet.Request(
                server_s=behind.server_s,
                proxy_s=behind.proxy_s,
                client_s=behind.client_s,
                size_bytes=workload.size_bytes,
            )
            simulated = fleet.two_servers(request, clients=workload.concurrency, duration_s=2.0)
            figures.checks.append(report.Check(workload, found, simulated))
            _say(f"two servers, {workload.name}: {found.per_s:,.0f}/s, simulated {simulated.per_s:,.0f}/s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
