"""Nothing outlives a test: no thread, task, child process or descriptor.

Knows pytest. Knows nothing of what is tested.

    after each test          everything that is open and was not before is an error of this test
    after a wider fixture    everything that its setup opened and is still open is an error of its last test
    after each module        every process that one of its tests started and that has another parent by now

A fixture of a class, a module or the session keeps what it opened during its setup; a test keeps nothing.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from leftovers import (
    PATIENCE_S,
    OpenThings,
    command_of,
    environment_of,
    left_since,
    libraries_with_pools,
    look,
    native_threads,
    processes_with,
    start_pools,
)

#: In the environment of every process that the suite starts: the process id of the pytest that did.
MARK = "PYTEST_LEFTOVERS"


class Leftovers:
    """The ledger of one pytest process."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._known = OpenThings()
        self._kept: dict[pytest.FixtureDef[Any], OpenThings] = {}
        self._orphans: frozenset[int] = frozenset()
        self._started: frozenset[str] = frozenset()

    def pytest_collection_finish(self) -> None:
        os.environ[MARK] = str(os.getpid())
        # Many tests use it, and the first of them would be taken for the owner of its pipe.
        importlib.import_module("uvloop")
        self._start_pools()
        self._known = look()
        self._orphans = processes_with(MARK, os.environ[MARK])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
        if fixturedef.scope == "function":
            return (yield)
        before = look()
        try:
            return (yield)
        finally:
            # Less what the fixtures that it asked for have opened meanwhile.
            inner = OpenThings()
            for kept in self._kept.values():
                inner |= kept
            self._kept[fixturedef] = look() - before - inner
            self._known |= self._kept[fixturedef]

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        # The fixture's value is dropped a moment later: the end of the test is where it must be closed.
        self._known -= self._kept.pop(fixturedef, OpenThings())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        ends_a_module = nextitem is None or nextitem.path != item.path
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()  # pytest's thread; what follows is bounded
            getattr(item, "funcargs", {}).clear()  # pytest keeps the values of fixtures a moment longer
            self._start_pools()
            self._known, left = left_since(self._known, patience_s=self._patience_s, thorough=ends_a_module)
            told = f"{item.nodeid} left open:\n{left}\n" if left else ""
            if ends_a_module:
                told += self._orphans_of_module()
        if told:
            pytest.fail(told.rstrip(), pytrace=False)

    def _start_pools(self) -> None:
        """Those of libraries that were imported since: a test may be the first to import one."""
        if (imported := libraries_with_pools()) == self._started:
            return
        self._started = imported
        before = look()
        start_pools()
        self._known |= (look() - before) | native_threads()

    def _orphans_of_module(self) -> str:
        deadline = time.monotonic() + self._patience_s
        while True:
            found = processes_with(MARK, os.environ[MARK]) - self._known.children
            left = found - self._orphans
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.05)  # a worker whose supervisor was killed sees it, and then ends
        self._orphans = found
        started_by = {pid: environment_of(pid, "PYTEST_CURRENT_TEST") for pid in sorted(left)}
        return "".join(
            f"still running: process {pid} of {test}: {command_of(pid)}\n" for pid, test in started_by.items()
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--leftovers-patience-s",
        type=float,
        default=PATIENCE_S,
        help="how long something that is ending may take to end before its test fails",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Leftovers(config.getoption("--leftovers-patience-s")), "leftovers")
