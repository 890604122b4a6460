"""The tests while their processes stand still at random, to show that none depends on seconds.

Knows pytest. `--stall-seed 1` stops one of the processes of the tests at a time, the tests' own too, for up
to 2.5 seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import stalls

_STALLS = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stall-seed", type=int, help="let processes of the tests stand still at random")


def pytest_sessionstart(session: pytest.Session) -> None:
    seed = session.config.getoption("--stall-seed")
    if seed is None or hasattr(session.config, "workerinput"):
        return
    command = [sys.executable, stalls.__file__, str(os.getpid()), str(seed)]
    session.config.stash[_STALLS] = subprocess.Popen(command)


def pytest_sessionfinish(session: pytest.Session) -> None:
    process = session.config.stash.get(_STALLS, None)
    if process is not None:
        process.terminate()
        process.wait()


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.getoption("--stall-seed")
    return None if seed is None else f"stalls: --stall-seed {seed}"
