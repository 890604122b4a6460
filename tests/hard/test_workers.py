"""Two workers under load: one is killed, one hangs, both read the store again; callers hardly notice.

That SIGTERM loses nobody, with two workers too, is measured by test_stopping.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load_client import Load, Plan, Request, get
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.process.watch import ANSWER_S

CONNECTIONS = 16
#: A worker imports onnxruntime and loads its models in this time, on a machine that is busy with the load.
REPLACED_S = 10.0
#: Heartbeats may be missing for so long, and the answer to a question after them (`process.supervisor`).
HANGS_S = 15.0 + ANSWER_S

pytestmark = pytest.mark.hard


def eventually(found: Callable[[], bool], running: Running, *, within_s: float) -> None:
    begun = time.monotonic()
    while not found():
        assert time.monotonic() - begun < within_s, running.log
        time.sleep(0.02)


def told(running: Running, event: str, *, times: int, within_s: float) -> None:
    eventually(lambda: len(running.lines(event)) == times, running, within_s=within_s)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "models")
    for seed in (1, 2):
        publish_tiny(made, name="mnist", image_shape=(1, 4, 4), latent_size=2, seed=seed)
    return made


@pytest.fixture
def two(store: ModelStore, tmp_path: Path) -> Iterator[Running]:
    with serving(store.root, tmp_path / "log", "--workers", "2", "--access-log", "false") as running:
        eventually(lambda: bool(running.lines("workers serve")), running, within_s=30)
        yield running


def load(running: Running, duration_s: float) -> Load:
    """Callers who try again on another connection, as HTTP's own clients do, when theirs breaks."""
    plan = Plan(running.port, [Request(get("/sample?n=4"))], connections=CONNECTIONS, duration_s=duration_s)
    return Load(plan)


def test_callers_hardly_notice_that_workers_are_killed(two: Running) -> None:
    kills = 4
    with load(two, duration_s=20) as calls:
        for number in range(1, kills + 1):
            os.kill(next(iter(two.workers)), signal.SIGKILL)
            told(two, "serving", times=2 + number, within_s=REPLACED_S)
        answers = calls.answers()
    assert set(answers.statuses) == {200}, answers.statuses
    assert max(answers.latency_s) < 2.0
    assert [line["signal"] for line in two.lines("worker died")] == ["SIGKILL"] * kills
    assert len(two.workers) == 2
    assert "Traceback" not in two.log
    assert two.stop() == 0


def test_worker_that_hangs_is_replaced_and_holds_only_its_own_callers(two: Running) -> None:
    victim = min(two.workers)
    with load(two, duration_s=HANGS_S + 10) as calls:
        time.sleep(2)  # until it has callers
        os.kill(victim, signal.SIGSTOP)
        told(two, "worker hangs", times=1, within_s=HANGS_S + 3)
        told(two, "serving", times=3, within_s=REPLACED_S)
        answers = calls.answers()
    held = [seconds for seconds in answers.latency_s if seconds > 2.0]
    assert set(answers.statuses) == {200}, answers.statuses
    assert 0 < len(held) < CONNECTIONS, held
    assert max(held) < HANGS_S + 3
    assert [line["pid"] for line in two.lines("worker hangs")] == [victim]
    assert victim not in two.workers
    assert two.stop() == 0


def test_each_reload_reaches_all_workers_and_no_caller(two: Running) -> None:
    reloads = 20
    with load(two, duration_s=10) as calls:
        for number in range(1, reloads + 1):
            two.process.send_signal(signal.SIGHUP)
            told(two, "models reloaded", times=2 * number, within_s=10)
        answers = calls.answers()
    assert set(answers.statuses) == {200}, answers.statuses
    workers = [line["worker"] for line in two.lines("models reloaded")]
    assert (workers.count(0), workers.count(1)) == (reloads, reloads)
