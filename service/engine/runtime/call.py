"""The caller of a model run: its deadline, and whether it has disconnected.

Knows two conditions and two durations. Knows nothing of requests, batches or graphs. Times are seconds on the
clock of `time.monotonic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def _never() -> bool:
    return False


class Call:
    """One request, from the view of the queues.

    Attributes:
        deadline_s: Absolute time after which the result is useless.
        is_disconnected: Whether the caller will read no result. Called from any thread, so it must be quick.
        queued_s: Seconds in which its rows waited for a model, summed over its runs.
        run_s: Seconds of the runs that contained its rows.
        is_admitted: Some of its rows were admitted, so its later rows are never rejected as too many.
    """

    __slots__ = ("deadline_s", "is_admitted", "is_disconnected", "queued_s", "run_s")

    def __init__(self, *, deadline_s: float = math.inf, is_disconnected: Callable[[], bool] = _never) -> None:
        self.deadline_s = deadline_s
        self.is_disconnected = is_disconnected
        self.queued_s = 0.0
        self.run_s = 0.0
        self.is_admitted = False

    def with_deadline(self, *, deadline_s: float) -> Call:
        """The same call with a later deadline, for the next part of a long response."""
        later = Call(deadline_s=deadline_s, is_disconnected=self.is_disconnected)
        later.is_admitted = self.is_admitted
        return later
