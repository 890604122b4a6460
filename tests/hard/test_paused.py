"""A server whose processes are all paused for 20 s and resumed, five times: nobody is taken for hanging."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from server_process import serving
from tiny_models import publish_tiny

from model_store import ModelStore

PAUSE_S = 20.0
#: The supervisor looks four times a second: had it counted the pause, it would act in the first of these.
WATCH_S = 4.0
#: In which order processes are resumed, and how many seconds lie between the supervisor and its workers.
ORDERS = (("supervisor", 0.0), ("workers", 0.0), ("supervisor", 2.0), ("workers", 2.0), ("supervisor", 0.0))


@pytest.mark.hard
@pytest.mark.hazard_row("paused")
def test_workers_outlive_pauses_of_the_whole_server(tmp_path: Path, hazard: Hazard) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", image_shape=(1, 4, 4), latent_size=2)
    with serving(store.root, tmp_path / "log", "--workers", "2", "--access-log", "false") as running:
        deadline = time.monotonic() + 60
        while not running.lines("workers serve"):
            assert time.monotonic() < deadline, running.log
            time.sleep(0.05)
        before, wrong = running.workers, 0
        for first, between_s in ORDERS:
            groups = [[running.process.pid], before]
            order = groups if first == "supervisor" else groups[::-1]
            for pid in (*order[0], *order[1]):
                os.kill(pid, signal.SIGSTOP)
            time.sleep(PAUSE_S)
            for position, group in enumerate(order):
                for pid in group:
                    os.kill(pid, signal.SIGCONT)
                time.sleep(between_s if position == 0 else 0.0)
            until_s = time.monotonic() + WATCH_S
            while time.monotonic() < until_s:
                wrong += running.get("/sample")[0] != 200
                time.sleep(0.1)
        after = running.workers
        hung = len(running.lines("worker hangs"))
        assert running.stop() == 0
    stay = len(set(before) & set(after))
    figure = f"{len(ORDERS)} × {PAUSE_S:g} s: {stay} of 2 workers stay, {wrong} wrong answers"
    bar = "5 × 20 s: 2 of 2 workers stay, 0 wrong answers"
    hazard("paused", figure=figure, bar=bar, met=before == after and hung == 0 and wrong == 0)
