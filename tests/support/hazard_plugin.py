"""The hazard table at the end of `make test-hard`.

Knows pytest. Knows nothing of how anything is measured.

    @pytest.mark.hard
    @pytest.mark.hazard_row("body-limit")
    def test_...(hazard):
        hazard("body-limit", figure="RSS +0.4 MB", bar="< 2 MB", met=growth < 2_000_000)

A row named by the marker alone counts the tests that held. A row without any figure is told in red and, where
`--hazard-table` asks for the whole table, fails the session; a selection of tests prints its own rows only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import pytest
from hazards import BY_ID, ROWS, Figure, Measured, table

MARKER, FIGURE = "hazard_row", "hazard_figure"
MEASURED = pytest.StashKey[dict[str, Measured]]()


class Hazard(Protocol):
    """`hazard(row_id, figure=…, bar=…, met=…)`: a figure for the table; fails if not met."""

    def __call__(self, row_id: str, *, figure: str, bar: str, met: bool) -> None: ...


@pytest.fixture
def hazard(request: pytest.FixtureRequest) -> Iterator[Hazard]:
    """Records figures beside their bars; the test fails at its end if one was not met."""
    missed: list[str] = []

    def record(row_id: str, *, figure: str, bar: str, met: bool) -> None:
        assert row_id in BY_ID, f"{row_id!r} is no row of tests/support/hazards.py"
        entry = {"row": row_id, "figure": figure, "bar": bar, "met": bool(met)}
        request.node.user_properties.append((FIGURE, entry))
        if not met:
            missed.append(f"{row_id}: expected {bar}, got {figure}")

    yield record
    if missed:
        pytest.fail("\n".join(missed), pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hazard-table",
        action="store_true",
        help="print the whole hazard table; a row without a figure or below its bar fails the session",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = defaultdict(Measured)
    config.addinivalue_line(
        "markers", f"{MARKER}(id): measures this row of the hazard table; run by `make test-hard` as well"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers(MARKER):
            assert mark.args[0] in BY_ID, (
                f"{item.nodeid}: {mark.args[0]!r} is no row of tests/support/hazards.py"
            )
            item.user_properties.append((MARKER, mark.args[0]))


class Collector:
    """Reads the reports, which with xdist come from other processes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._measured = config.stash[MEASURED]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        figures = [value for name, value in report.user_properties if name == FIGURE]
        named = [str(value) for name, value in report.user_properties if name == MARKER]
        for row_id in {*named, *(str(entry["row"]) for entry in figures)}:  # type: ignore[index]
            found = self._measured[row_id]
            found.took_s += report.duration
            if report.failed:
                found.failed.append(report.nodeid)
            elif report.skipped:
                found.skipped.append(str(report.longrepr[2] if isinstance(report.longrepr, tuple) else ""))
            elif report.when == "call":
                found.passed += 1
        if report.when == "teardown":
            for entry in figures:
                figure = Figure(entry["figure"], entry["bar"], entry["met"])  # type: ignore[index]
                self._measured[entry["row"]].figures.append(figure)  # type: ignore[index]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        unmet = [row for row in ROWS if not self._measured[row.id].met]
        if _whole(self._config) and unmet and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        whole = self._config.getoption("--hazard-table")
        rows = [row for row in ROWS if whole or self._measured[row.id].known]
        if not rows:
            return
        terminalreporter.section("hazard table")
        width = max(120, min(terminalreporter._tw.fullwidth, 180))
        for line, good in table(self._measured, rows=rows, width=width):
            terminalreporter.write_line(line, **({} if good else {"red": True}))
        met = sum(self._measured[row.id].met for row in rows)
        terminalreporter.write_line(
            f"{met} of {len(rows)} rows met", bold=True, **({} if met == len(rows) else {"red": True})
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In the process that reports: a worker of xdist has no terminal, and the whole suite has one process."""
    config = session.config
    several = bool(getattr(config.option, "numprocesses", None))
    if not hasattr(config, "workerinput") and (not several or config.getoption("--hazard-table")):
        config.pluginmanager.register(Collector(config), "hazard-collector")


def _whole(config: pytest.Config) -> bool:
    """Whether every row was asked for: neither files nor -k narrow the suite."""
    return (
        bool(config.getoption("--hazard-table"))
        and config.args_source is not pytest.Config.ArgsSource.ARGS
        and not config.option.keyword
        and not config.option.collectonly
    )
