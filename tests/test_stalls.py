"""Processes that stand still at random: they do, they go on, and the stalls end with the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stalls
from patience import PATIENCE_S, eventually
from process_facts import children


@pytest.fixture
def tree() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process, and the one that it has started."""
    root = subprocess.Popen(["sh", "-c", "sleep 600 & wait"])
    eventually(lambda: bool(children(root.pid)), lambda: "no child")
    (child,) = children(root.pid)
    yield root, child
    os.kill(child, signal.SIGKILL)
    root.kill()
    root.wait(PATIENCE_S)


def stalled(root: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, stalls.__file__, str(root), "1"])


def test_process_stands_still_and_goes_on(tree: tuple[subprocess.Popen[bytes], int]) -> None:
    root, child = tree
    with stalled(root.pid) as process:
        for _ in range(2):
            eventually(lambda: stalls.state(child) == "T", lambda: stalls.state(child))
            eventually(lambda: stalls.state(child) == "S", lambda: stalls.state(child))
        process.terminate()


def test_nothing_stays_stopped_when_the_stalls_end(tree: tuple[subprocess.Popen[bytes], int]) -> None:
    root, child = tree
    with stalled(root.pid) as process:
        eventually(lambda: stalls.state(child) == "T", lambda: stalls.state(child))
        process.terminate()
    assert process.returncode == 0
    eventually(lambda: stalls.state(child) == "S", lambda: stalls.state(child))


def test_stalls_end_with_the_process_at_the_root(tree: tuple[subprocess.Popen[bytes], int]) -> None:
    root, _ = tree
    with stalled(root.pid) as process:
        root.kill()
        root.wait(PATIENCE_S)
        assert process.wait(PATIENCE_S) == 0


def test_process_that_somebody_else_has_stopped_stays_stopped(
    tree: tuple[subprocess.Popen[bytes], int],
) -> None:
    _, child = tree
    os.kill(child, signal.SIGSTOP)
    eventually(lambda: stalls.state(child) == "T", lambda: stalls.state(child))
    stalls.stall(child, 0.0)
    assert stalls.state(child) == "T"
    os.kill(child, signal.SIGCONT)


def test_process_that_has_ended_is_left_alone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait(PATIENCE_S)
    stalls.stall(ended.pid, 0.0)
    assert stalls.state(ended.pid) == "X"


#: Passes when a process that it has started stands still.
SUITE = """
import subprocess
from patience import eventually
from stalls import state

def test_suite():
    with subprocess.Popen(["sleep", "600"]) as child:
        eventually(lambda: state(child.pid) == "T", lambda: state(child.pid))
        child.kill()
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_option_stalls_the_processes_of_the_tests(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "stall_plugin", "-p", "no:cacheprovider"),
            *("-p", "no:schemathesis", "-n", workers, "--stall-seed", "1", "-c", os.devnull),
            *("--rootdir", ".", "test_suite.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(stalls.__file__).parent), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stalls: --stall-seed 1" in done.stdout
