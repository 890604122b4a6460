"""Processes that stand still now and then, as on a busy machine: one of a tree at a time, for up to 2.5 s.

Knows /proc and signals. Knows nothing of tests.

    python -m stalls ROOT SEED    # until the process ROOT ends
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from process_facts import children

#: Between two stalls, and of one.
_PAUSES_S = (0.2, 1.0)
_STALLS_S = (0.5, 1.2, 2.5)
_STOPPED_OR_GONE = frozenset("TtZX")


def descendants(root: int) -> list[int]:
    """The processes that `root` started, and theirs, but not this one."""
    found, left = [], [root]
    while left:
        left += (started := [each for each in children(left.pop()) if each != os.getpid()])
        found += started
    return found


def state(pid: int) -> str:
    """The letter of its state; `X` if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "X"


def stall(pid: int, seconds: float) -> None:
    """Stop a process for a while; one that somebody else has stopped stays as it is."""
    if state(pid) in _STOPPED_OR_GONE:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGCONT)


def main(root: int, seed: int) -> None:
    """Stall the processes below `root` until it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what is stopped goes on first
    rng = random.Random(seed)
    while state(root) not in "ZX":
        time.sleep(rng.uniform(*_PAUSES_S))
        if found := descendants(root):
            stall(rng.choice(found), rng.choice(_STALLS_S))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
