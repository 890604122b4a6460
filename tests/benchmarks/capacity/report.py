"""The tables of the page on capacity, from measured figures.

Knows figures and Markdown. Knows nothing of how they were measured. A price is an assumption, which the page
states, and never a measurement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from capacity.fleet import Fleet, Request
from capacity.measure import Cost, Models, Workload
from capacity.simulation import Outcome

#: Assumed price of a core with its share of memory, for an hour: the reader's own belongs here.
EURO_PER_CORE_HOUR = 0.04
#: Share of a core that a fleet uses on average: peaks and failures need the rest.
USED = 0.6
_BEGIN, _END = "<!-- make bench-capacity: begin -->", "<!-- make bench-capacity: end -->"
_HOURS_PER_MONTH = 730
#: A load that leaves the costs as they are.
_QUIET = 1.0


@dataclass(frozen=True)
class Check:
    """Two servers behind nginx, measured and simulated."""

    workload: Workload
    measured: Cost
    simulated: Outcome

    @property
    def cores(self) -> float:
        """Cores that client, proxy and servers got; less than two on a machine that does other work."""
        found = self.measured
        return found.per_s * (found.server_s + found.proxy_s + found.client_s)

    @property
    def ratio(self) -> float:
        """Measured ÷ simulated requests per second, for the cores that there were."""
        return self.measured.per_s / (self.simulated.per_s * self.cores / 2)


@dataclass
class Figures:
    """All that was measured and simulated."""

    measured_on: str
    load: float = 0.0
    """Processes that wanted a core before the measurement began."""
    costs: list[tuple[Workload, Cost]] = field(default_factory=list)
    behind: dict[str, Cost] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    cached: tuple[Workload, Cost] | None = None
    uncached: Cost | None = None
    models: list[Models] = field(default_factory=list)
    fleets: dict[str, list[tuple[Fleet, Outcome]]] = field(default_factory=dict)


def request_of(workload: Workload, cost: Cost, figures: Figures) -> Request:
    """The needs of a request in a fleet, where no client shares the cores."""
    return Request(
        server_s=cost.server_s,
        proxy_s=figures.behind[workload.name].proxy_s,
        size_bytes=workload.size_bytes,
    )


def markdown(figures: Figures) -> str:
    """Every table of the page."""
    return "\n\n".join(
        (
            _heading(figures),
            _cost_table(figures),
            _goals_table(figures),
            _check_table(figures),
            _fleet_table(figures),
            _models_table(figures),
        )
    )


def _heading(figures: Figures) -> str:
    text = f"Measured on {figures.measured_on}, on two cores of one machine, with `make bench-capacity`."
    if figures.load <= _QUIET:
        return text
    return (
        f"{text} **Other work took these cores: {figures.load:.0f} processes wanted one. Processor times are "
        "several times too high for a quiet machine** ([Benchmarks](../../tests/benchmarks/README.md) has "
        "15,186 images/s of a core for batches of 64); what follows from them is as much too pessimistic."
    )


def _cost_table(figures: Figures) -> str:
    rows = []
    for workload, cost in figures.costs:
        per_core = 1 / cost.server_s
        images = workload.images * per_core
        per_euro = images * 3600 / EURO_PER_CORE_HOUR * USED
        proxy_us = 1e6 * figures.behind[workload.name].proxy_s
        rows.append(
            f"| {workload.name} | {1e6 * cost.server_s:,.0f} | {proxy_us:,.0f} "
            f"| {workload.size_bytes / 1e3:,.1f} | {per_core:,.0f} | {images:,.0f} "
            f"| {per_euro / 1e6:,.0f} million |"
        )
    return _table(
        "request | server, µs | nginx, µs | network, kB | requests/s of a core | images/s of a core "
        "| images of a euro",
        rows,
    )


def _goals_table(figures: Figures) -> str:
    """1,000 requests a second, and 10 million cached samples a day."""
    rows = []
    for workload, cost in figures.costs:
        cores = 1000 * cost.server_s / USED
        proxy = 1000 * figures.behind[workload.name].proxy_s / USED
        month = (cores + proxy) * EURO_PER_CORE_HOUR * _HOURS_PER_MONTH
        out = 1000 * 8 * workload.size_bytes / 1e6
        rows.append(
            f"| 1,000/s of {workload.name} | {cores:.2f} | {proxy:.2f} | {out:,.0f} | {month:,.0f} € |"
        )
    if figures.cached and figures.uncached:
        workload, hit = figures.cached
        per_s = 1e7 / 86_400
        for name, server_s, proxy_s in (
            ("from the cache of nginx", 0.0, hit.proxy_s),
            ("computed each time", figures.uncached.server_s, hit.proxy_s),
        ):
            cores, proxy = per_s * server_s / USED, per_s * proxy_s / USED
            month = (cores + proxy) * EURO_PER_CORE_HOUR * _HOURS_PER_MONTH
            out = per_s * 8 * workload.size_bytes / 1e6
            rows.append(
                f"| 10 million pictures of 16 digits a day, {name} | {cores:.2f} | {proxy:.3f} | {out:,.0f} "
                f"| {month:,.1f} € |"
            )
    return _table("goal | cores of servers | cores of nginx | network, Mbit/s | a month", rows)


def _check_table(figures: Figures) -> str:
    rows = [
        f"| {check.workload.name} | {check.measured.per_s:,.0f} | {check.cores:.2f} "
        f"| {check.simulated.per_s:,.0f} | {check.ratio:.2f} |"
        for check in figures.checks
    ]
    return _table(
        "two servers behind nginx | measured/s | with cores | simulated/s with two | ratio for each core",
        rows,
    )


def _fleet_table(figures: Figures) -> str:
    rows = []
    for name, found in figures.fleets.items():
        for fleet, outcome in found:
            busy = ", ".join(f"{who} {share:.0%}" for who, share in outcome.busy.items())
            rows.append(
                f"| {name} | {fleet.replicas:,} | {outcome.per_s:,.0f} | {outcome.bottleneck()} | {busy} |"
            )
    return _table("request | replicas | requests/s | first limit | busy at that rate", rows, texts=(0, 3, 4))


def _models_table(figures: Figures) -> str:
    rows = [
        f"| {models.count:,} | {models.ready_s:.1f} | {models.resident_bytes / 1e6:,.0f} "
        f"| {100 * models.idle_cpu_share:.1f} % |"
        for models in figures.models
    ]
    few, many = figures.models[0], figures.models[-1]
    more = many.count - few.count
    each_mb = (many.resident_bytes - few.resident_bytes) / more / 1e6
    each_s = (many.ready_s - few.ready_s) / more
    each_cpu = (many.idle_cpu_share - few.idle_cpu_share) / more
    thousand = 999
    rows.append(
        f"| 1,000 (extrapolated) | {few.ready_s + thousand * each_s:.0f} "
        f"| {few.resident_bytes / 1e6 + thousand * each_mb:,.0f} "
        f"| {100 * (few.idle_cpu_share + thousand * each_cpu):.1f} % |"
    )
    return _table(
        "models in the store | ready after, s | memory of a worker, MB | a core while idle", rows, texts=()
    )


def _table(columns: str, rows: Iterable[str], *, texts: Collection[int] = (0,)) -> str:
    """A table in Markdown; numbers are to the right, and `texts` are columns of words."""
    names = columns.split(" | ")
    rules = ("---" if index in texts else "---:" for index in range(len(names)))
    return "\n".join([f"| {columns} |", f"| {' | '.join(rules)} |", *rows])


def write(page: Path, text: str) -> None:
    """Put the tables between the marks of the page."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")
