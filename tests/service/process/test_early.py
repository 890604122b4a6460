"""Signals that come while a server starts or stops: nobody dies of SIGHUP, and SIGTERM is never lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import as_process_1, child_of
from patience import eventually
from process_facts import children
from server_process import serving

#: Sends a signal before the import of each named module, in every process of the server.
SIGNAL_WHILE_IMPORTING = """
import importlib.abc, os, signal, sys

class AtImport(importlib.abc.MetaPathFinder):
    def __init__(self):
        self.left = set(os.environ["TEST_SIGNAL_AT"].split(","))

    def find_spec(self, name, path=None, target=None):
        if name in self.left:
            self.left.discard(name)
            os.kill(os.getpid(), getattr(signal, os.environ["TEST_SIGNAL"]))

sys.meta_path.insert(0, AtImport())
"""
#: From the first module to the last that a start imports.
MOMENTS = ("service.cli", "pydantic", "service.settings", "uvicorn", "onnxruntime", "service.app", "uvloop")


def environment(tmp_path: Path, name: str, *moments: str) -> dict[str, str]:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(SIGNAL_WHILE_IMPORTING)
    return {"PYTHONPATH": str(hooks), "TEST_SIGNAL": name, "TEST_SIGNAL_AT": ",".join(moments)}


@pytest.mark.parametrize("workers", [1, 2])
def test_hangups_at_every_moment_of_a_start_end_nobody_and_are_obeyed(
    tiny_store: Path, tmp_path: Path, workers: int
) -> None:
    """The default action of SIGHUP ended a process that had no handler yet, and with it the whole server."""
    hooks = environment(tmp_path, "SIGHUP", *MOMENTS)
    with serving(tiny_store, tmp_path / "log", "--workers", str(workers), environment=hooks) as running:
        eventually(lambda: len(running.lines("serving")) == workers, lambda: running.log)
        # What came before the store was read and what came after cannot be told apart: it is read again.
        eventually(lambda: len(running.lines("models reloaded")) >= workers, lambda: running.log)
        assert running.get("/sample")[0] == 200
        assert not running.lines("worker died")
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("name", "code", "line"), [("SIGTERM", 0, b""), ("SIGINT", 130, b"vae-serve: stopped\n")]
)
def test_start_that_is_told_to_end_ends_at_once(
    tiny_store: Path, tmp_path: Path, name: str, code: int, line: bytes
) -> None:
    """SIGTERM is how an orchestrator ends a server, at any time; Ctrl-C is a person's."""
    done = subprocess.run(
        [sys.executable, "-m", "service", "run", "--store", str(tiny_store), "--port", "0"],
        env={**os.environ, **environment(tmp_path, name, "onnxruntime")},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (code, line)


@pytest.mark.hazard_row("process-1")
def test_process_1_hears_sigterm_before_it_serves(tiny_store: Path, tmp_path: Path) -> None:
    """The system drops signals for which process 1 has no handler: `docker stop` would have to kill it."""
    done = subprocess.run(
        [*as_process_1(), sys.executable, "-m", "service", "run", "--store", str(tiny_store), "--port", "0"],
        env={**os.environ, **environment(tmp_path, "SIGTERM", "pydantic")},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("workers", [1, 2])
def test_hangups_while_it_stops_change_nothing(tiny_store: Path, tmp_path: Path, workers: int) -> None:
    """The event loop gives SIGHUP its default action back as it closes, and so does Python as it exits."""
    with serving(tiny_store, tmp_path / "log", "--workers", str(workers)) as running:
        eventually(lambda: len(running.lines("serving")) == workers, lambda: running.log)
        processes = [running.process.pid, *running.workers]
        running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while running.process.poll() is None:
            assert time.monotonic() < deadline, running.log
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
            time.sleep(0.002)
        assert running.process.returncode == 0, running.log


@pytest.mark.hazard_row("process-1")
@pytest.mark.parametrize("workers", [1, 2])
def test_process_1_serves_buries_orphans_and_stops(tiny_store: Path, tmp_path: Path, workers: int) -> None:
    """Workers whose parent had number 1 took it for an init that had adopted them, and ended."""
    several = ("--workers", str(workers))
    with serving(tiny_store, tmp_path / "log", *several, prefix=as_process_1()) as running:
        eventually(lambda: len(running.lines("serving")) == workers, lambda: running.log)
        assert running.get("/sample")[0] == 200
        first = child_of(running.process)
        before = children(first)
        assert len(before) == (workers if workers > 1 else 0)
        # A process whose parent ends becomes a child of process 1, and ends as one.
        as_user = ["--user"] if os.geteuid() else []
        enter = ["nsenter", "--target", str(first), *as_user, "--pid"]
        subprocess.run([*enter, "sh", "-c", "sleep 0.3 & exit 0"], check=True, timeout=30)
        eventually(lambda: children(first) == before, lambda: children(first))
        os.kill(first, signal.SIGTERM)
        assert running.process.wait(timeout=60) == 0, running.log
        assert not running.lines("worker died")
