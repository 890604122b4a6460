"""When a silent worker hangs: a clock that stops while the watcher sleeps, and a question before the end.

Knows seconds and text. Knows nothing of processes, signals or pipes; the supervisor acts on the verdicts.

A paused container, a suspended virtual machine and a host without a free core stop the watcher together with
the watched. The time of such a pause proves nothing about a worker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

#: A questioned worker must answer within this time.
ANSWER_S: Final = 5.0
_FRAME: Final = re.compile(r'^  File "(?:.*/)?([^"/]+)", line (\d+) in (.+)$', re.MULTILINE)
_MOST_FRAMES: Final = 6


class AwakeClock:
    """Seconds in which the watcher was awake, measured by its own checks."""

    def __init__(
        self, *, look_s: float, longest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The clock begins at 0.

        Args:
            look_s: Interval of the calls of `look`. A pause longer than `longest_s` counts as one interval.
            longest_s: Longest pause of a watcher that is awake, on a busy machine.
            clock: Monotonic seconds.
        """
        self.now_s = 0.0
        self._look_s = look_s
        self._longest_s = longest_s
        self._clock = clock
        self._seen_s = clock()

    def look(self) -> float:
        """Advance the clock by the time since the last call, and return it."""
        seen_s = self._clock()
        passed_s = seen_s - self._seen_s
        self._seen_s = seen_s
        self.now_s += passed_s if passed_s <= self._longest_s else self._look_s
        return self.now_s


class Verdict(Enum):
    """The next step for one worker."""

    WAIT = "wait"
    ASK = "ask"
    END = "end"


@dataclass
class Silence:
    """How long one worker has been silent. Times are seconds of an `AwakeClock`."""

    heard_s: float
    asked_s: float | None = None

    def hear(self, now_s: float) -> bool:
        """The worker wrote a byte.

        Returns:
            Return whether the worker had been questioned.
        """
        was_asked = self.asked_s is not None
        self.heard_s, self.asked_s = now_s, None
        return was_asked

    def judge(self, now_s: float, *, latest_s: float) -> Verdict:
        """The verdict at `now_s`; each END and each ASK is returned once per `ANSWER_S`.

        Args:
            now_s: Time of the clock.
            latest_s: Time until which the worker may be silent.
        """
        if now_s <= latest_s:
            return Verdict.WAIT
        if self.asked_s is None:
            self.asked_s = now_s
            return Verdict.ASK
        if now_s <= self.asked_s + ANSWER_S:
            return Verdict.WAIT
        self.asked_s = now_s
        return Verdict.END


def innermost_frames(dump: str) -> str:
    """`wait selectors.py:12 < run server.py:88`: the stack of one thread from `faulthandler`, on one line.

    Args:
        dump: The output of `faulthandler`; the last of several dumps counts. Any other text returns empty
            text.
    """
    _, _, last = dump.rpartition("(most recent call first):")
    return " < ".join(f"{name} {file}:{line}" for file, line, name in _FRAME.findall(last)[:_MOST_FRAMES])
