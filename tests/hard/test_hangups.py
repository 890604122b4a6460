"""SIGHUP and reloads at random moments of a start and of a replacement: nobody dies, nothing is lost.

The first moment is that at which the first lines of the program have run: before them, while the interpreter
starts, the default action of the system holds for every program.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from process_facts import children
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

STARTS, HANGUPS = 20, 10
REPLACEMENTS = 5
#: A start takes about this long, here or on a machine that is busy: the gaps between signals share it out.
START_S = 1.5


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
        return bool(caught >> (number - 1) & 1)
    return False


def eventually_serving(running: Running, times: int) -> None:
    deadline = time.monotonic() + 60
    while len(running.lines("serving")) < times:
        assert time.monotonic() < deadline, running.log
        time.sleep(0.02)


class Hangups:
    """Sends SIGHUP to a server, or to one of its workers, at random moments."""

    def __init__(self, chance: random.Random, times: int) -> None:
        self._chance = chance
        self._left = times
        self.sent = 0
        self._thread: threading.Thread | None = None

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        self._thread = threading.Thread(target=self._send_all, args=(process,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join(60)

    def _send_all(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None and not handles(process.pid, signal.SIGHUP):
            time.sleep(0.001)
        while self._left and process.poll() is None:
            # A worker too: an operator may name all processes of the program at once.
            target = self._chance.choice([process.pid, *children(process.pid)])
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGHUP)
                self._left -= 1
                self.sent += 1
            time.sleep(self._chance.uniform(0.0, 2 * START_S / HANGUPS))


@pytest.mark.hard
@pytest.mark.hazard_row("hangups")
def test_hangups_at_random_moments_end_nobody(tmp_path: Path, hazard: Hazard) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", image_shape=(1, 4, 4), latent_size=2)
    chance = random.Random(20260)
    sent, died, exits = 0, 0, []
    for start in range(STARTS):
        workers = 1 + start % 2
        hangups = Hangups(chance, HANGUPS)
        log = tmp_path / f"log-{start}"
        flags = ("--workers", str(workers), "--access-log", "false")
        with serving(store.root, log, *flags, on_start=hangups.begin) as running:
            eventually_serving(running, workers)
            hangups.join()
            assert running.get("/sample")[0] == 200
            exits.append(running.stop())
            died += len(running.lines("worker died"))
        sent += hangups.sent
    assert len(exits) == STARTS
    figure = f"{sent} in {STARTS} starts: {died} workers died, exit codes {sorted(set(exits))}"
    met = sent == STARTS * HANGUPS and died == 0 and set(exits) == {0}
    hazard("hangups", figure=figure, bar="200 in 20 starts: 0 died, exit codes [0]", met=met)


@pytest.mark.hard
@pytest.mark.hazard_row("hangups")
def test_reloads_while_a_worker_is_replaced_end_nobody(tmp_path: Path, hazard: Hazard) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", image_shape=(1, 4, 4), latent_size=2)
    chance = random.Random(20261)
    flags = ("--workers", "2", "--admin", "true", "--access-log", "false")
    reloads = 0
    with serving(store.root, tmp_path / "log", *flags) as running:
        eventually_serving(running, 2)
        for round_ in range(1, REPLACEMENTS + 1):
            os.kill(chance.choice(running.workers), signal.SIGKILL)
            deadline = time.monotonic() + 60
            while len(running.lines("serving")) < 2 + round_:
                assert time.monotonic() < deadline, running.log
                connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
                # The connection may be one that the dead worker had taken.
                with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                    connection.request("POST", "/models/mnist/reload")
                    reloads += connection.getresponse().status == 200
                time.sleep(chance.uniform(0.0, 0.1))
        died = len(running.lines("worker died"))
        code = running.stop()
    figure = (
        f"{reloads} reloads in {REPLACEMENTS} replacements: {died - REPLACEMENTS} died of them, exit {code}"
    )
    met = died == REPLACEMENTS and code == 0 and reloads >= REPLACEMENTS
    hazard("hangups", figure=figure, bar="0 died, exit 0", met=met)
