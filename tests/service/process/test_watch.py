"""Silence is counted while the watcher is awake, and a worker is asked before it is ended."""

from __future__ import annotations

import faulthandler
import os
import selectors
import signal
import subprocess
import sys
import time

import pytest
from clocks import Clock

from service.process.watch import ANSWER_S, AwakeClock, Silence, Verdict, innermost_frames
from service.process.worker import Handover

LOOK_S, ASLEEP_S, SILENCE_S = 0.25, 2.0, 15.0


class Watcher:
    """A supervisor's look at one worker that has served."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.awake = AwakeClock(look_s=LOOK_S, longest_s=ASLEEP_S, clock=self.clock)
        self.silence = Silence(heard_s=self.awake.look())

    def look(self, after_s: float = LOOK_S, *, hears: bool = False) -> Verdict:
        self.clock.now_s += after_s
        now_s = self.awake.look()
        if hears:
            self.silence.hear(now_s)
        return self.silence.judge(now_s, latest_s=self.silence.heard_s + SILENCE_S)

    def looks(self, seconds: float) -> list[Verdict]:
        return [self.look() for _ in range(round(seconds / LOOK_S))]


@pytest.mark.parametrize("asleep_s", [20.0, 3600.0, 86_400.0 * 30])
def test_pause_of_watcher_and_worker_says_nothing_of_the_worker(asleep_s: float) -> None:
    watcher = Watcher()
    watcher.looks(5)
    for _ in range(5):  # paused and resumed, five times, before the worker had the processor once
        assert watcher.look(asleep_s) is Verdict.WAIT
        assert set(watcher.looks(1)) == {Verdict.WAIT}
    assert watcher.look(hears=True) is Verdict.WAIT


def test_watcher_that_is_slow_and_awake_counts_its_whole_time() -> None:
    watcher = Watcher()
    verdicts = [watcher.look(1.9) for _ in range(8)]
    assert verdicts == [Verdict.WAIT] * 7 + [Verdict.ASK]


def test_silent_worker_is_asked_once_and_then_ended() -> None:
    watcher = Watcher()
    assert set(watcher.looks(SILENCE_S)) == {Verdict.WAIT}
    assert watcher.look() is Verdict.ASK
    assert set(watcher.looks(ANSWER_S)) == {Verdict.WAIT}
    assert watcher.look() is Verdict.END


def test_worker_that_answers_is_left_alone_and_asked_anew_the_next_time() -> None:
    watcher = Watcher()
    watcher.looks(SILENCE_S)
    assert watcher.look() is Verdict.ASK
    assert watcher.look(hears=True) is Verdict.WAIT
    assert watcher.silence.asked_s is None
    assert set(watcher.looks(SILENCE_S)) == {Verdict.WAIT}
    assert watcher.look() is Verdict.ASK


def test_pause_between_question_and_answer_is_no_silence_either() -> None:
    watcher = Watcher()
    watcher.looks(SILENCE_S)
    assert watcher.look() is Verdict.ASK
    assert watcher.look(600.0) is Verdict.WAIT
    assert watcher.look(hears=True) is Verdict.WAIT


def test_worker_that_is_asked_writes_where_it_stands() -> None:
    """A real process in a loop that lets no Python code run, asked as the supervisor does."""
    heartbeat, stack = os.pipe(), os.pipe()
    given = Handover(
        number=0, parent=os.getpid(), heartbeat=heartbeat[1], stack=stack[1], listeners=[]
    ).to_text()
    program = (
        "import os, sys\n"
        "from service.process.worker import place_from\n"
        "def stuck():\n"
        "    place.beat()\n"
        "    while True: pass\n"
        "place = place_from(sys.argv[1])\n"
        "stuck()\n"
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        process = subprocess.Popen([sys.executable, "-c", program, given], pass_fds=(heartbeat[1], stack[1]))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        process.send_signal(signal.SIGUSR1)  # it may not even have begun: the question waits
        assert os.read(heartbeat[0], 16) == b"."
        text = ""
        deadline = time.monotonic() + 60
        with selectors.DefaultSelector() as selector:
            selector.register(stack[0], selectors.EVENT_READ)
            # The first answers may come from before the loop, or from within its first call.
            while not innermost_frames(text).startswith("stuck <string>:5"):
                assert time.monotonic() < deadline, text
                process.send_signal(signal.SIGUSR1)
                if selector.select(timeout=1.0):
                    text += os.read(stack[0], 65_536).decode()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(timeout=30)
        for descriptor in (*heartbeat, *stack):
            os.close(descriptor)


def test_worker_whose_parent_is_another_ends_and_says_so() -> None:
    given = Handover(number=3, parent=os.getpid() + 1, heartbeat=0, stack=1, listeners=[]).to_text()
    done = subprocess.run(
        [sys.executable, "-c", f"from service.process.worker import place_from; place_from({given!r})"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"worker 3: its supervisor, process {os.getpid() + 1}, is gone" in done.stderr


def test_last_dump_counts_and_anything_else_is_empty(tmp_path: object) -> None:
    read, write = os.pipe()
    try:
        for _ in range(2):
            faulthandler.dump_traceback(file=write, all_threads=False)
        text = os.read(read, 65_536).decode()
    finally:
        os.close(read)
        os.close(write)
    assert innermost_frames(text).startswith(f"{test_last_dump_counts_and_anything_else_is_empty.__name__} ")
    assert innermost_frames(text).count("<") == 5
    assert innermost_frames("") == innermost_frames("rubbish\n") == ""
