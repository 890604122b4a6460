"""Whoever waits for a model run: until when, and whether still there.

Knows two questions and two clocks' readings. Knows nothing of requests, batches or graphs. Times are seconds
on the monotonic clock of `time.monotonic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def _stays() -> bool:
    return False


class Caller:
    """One request's stake in the queues.

    Attributes:
        deadline_s: Absolute time after which no result is wanted any more.
        has_left: Whether nobody would read the result. Asked from any thread, so it must be quick and plain.
        queued_s: Seconds that its rows have waited for a model, summed over its runs.
        run_s: Seconds of the runs that its rows were part of.
        is_admitted: Rows of it were taken once; what follows from them is not refused for being too much.
    """

    __slots__ = ("deadline_s", "has_left", "is_admitted", "queued_s", "run_s")

    def __init__(self, *, deadline_s: float = math.inf, has_left: Callable[[], bool] = _stays) -> None:
        self.deadline_s = deadline_s
        self.has_left = has_left
        self.queued_s = 0.0
        self.run_s = 0.0
        self.is_admitted = False

    def again(self, *, deadline_s: float) -> Caller:
        """The same caller with a later deadline, for the next part of a long answer."""
        later = Caller(deadline_s=deadline_s, has_left=self.has_left)
        later.is_admitted = self.is_admitted
        return later
