"""Times of a run: the present epoch, the run so far, and an estimate of the rest.

Knows steps and a clock. Knows nothing of models or of the display.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Pace:
    """Counts from its creation, or from `begin`: a resumed run has done steps before."""

    def __init__(self, steps: int, *, clock: Callable[[], float] = monotonic) -> None:
        """The clock starts.

        Args:
            steps: Steps of the whole run.
            clock: Seconds, monotonic.
        """
        self._steps = steps
        self._clock = clock
        self.begin(0)

    def begin(self, step: int) -> None:
        """Start the clock again, after this many steps of an earlier start."""
        self._first_step = step
        self._begun_s = self._lap_s = self._clock()

    def lap_s(self) -> float:
        """Seconds since the last call, or since the start."""
        now_s = self._clock()
        lap_s, self._lap_s = now_s - self._lap_s, now_s
        return lap_s

    @property
    def so_far_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._begun_s

    def left_s(self, step: int) -> float | None:
        """Seconds for the remaining steps at the mean pace; None before the first step."""
        done = step - self._first_step
        return None if done <= 0 else self.so_far_s / done * max(0, self._steps - step)


def in_words(seconds: float) -> str:
    """`45 s`, `12 min`, `2 h 05 min`."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
