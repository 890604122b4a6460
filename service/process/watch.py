"""When a silent worker hangs: a clock that stops while the watcher sleeps, and a question before the end.

Knows seconds and text. Knows nothing of processes, signals or pipes; the supervisor acts on the verdicts.

A container that is paused, a virtual machine that is suspended and a host without a free core stop the
watcher as well as those it watches. Time that passes meanwhile says nothing about a worker.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

#: A worker that has been asked has so long to answer.
ANSWER_S: Final = 5.0
_FRAME: Final = re.compile(r'^  File "(?:.*/)?([^"/]+)", line (\d+) in (.+)$', re.MULTILINE)
_MOST_FRAMES: Final = 6


class AwakeClock:
    """Seconds for which the watcher was awake, measured by its own looks."""

    def __init__(
        self, *, look_s: float, longest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The clock begins at 0.

        Args:
            look_s: How often `look` is called. A longer pause than `longest_s` counts as one look.
            longest_s: A pause up to this length is that of a watcher who is awake, on a busy machine.
            clock: Monotonic seconds.
        """
        self.now_s = 0.0
        self._look_s = look_s
        self._longest_s = longest_s
        self._clock = clock
        self._seen_s = clock()

    def look(self) -> float:
        """Advances the clock by the time since the last look, and returns it."""
        seen_s = self._clock()
        passed_s = seen_s - self._seen_s
        self._seen_s = seen_s
        self.now_s += passed_s if passed_s <= self._longest_s else self._look_s
        return self.now_s


class Verdict(Enum):
    """What to do about one worker."""

    WAIT = "wait"
    ASK = "ask"
    END = "end"


@dataclass
class Silence:
    """How long one worker has said nothing. Times are seconds of an `AwakeClock`."""

    heard_s: float
    asked_s: float | None = None

    def hear(self, now_s: float) -> bool:
        """The worker said something.

        Returns:
            Whether it had been asked.
        """
        was_asked = self.asked_s is not None
        self.heard_s, self.asked_s = now_s, None
        return was_asked

    def judge(self, now_s: float, *, latest_s: float) -> Verdict:
        """The verdict at `now_s`; each END and each ASK is given once per `ANSWER_S`.

        Args:
            now_s: The time of the clock.
            latest_s: Until when nothing has to be heard.
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
    """`wait selectors.py:12 < run server.py:88`: what `faulthandler` wrote of one thread, on one line.

    Args:
        dump: Its text; of several dumps the last counts. Anything else gives an empty text.
    """
    _, _, last = dump.rpartition("(most recent call first):")
    return " < ".join(f"{name} {file}:{line}" for file, line, name in _FRAME.findall(last)[:_MOST_FRAMES])
