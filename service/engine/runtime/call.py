"""The caller of a model run: its deadline, and whether it has disconnected.

Knows two conditions and two durations. Knows nothing of requests, batches or graphs. Times are seconds on the
clock of `time.monotonic`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from service.engine.errors import CallerDisconnected, DeadlineExceeded

#: Seconds of arrival that one level of priority is worth. Between the first level, 1, and the last, 9, are
#: eight of them: a request waits at most so much longer than in the order of arrival.
HEAD_START_S: Final = 0.1
_DEFAULT_PRIORITY: Final = 5
_LAST_PRIORITY: Final = 9


def priority_head_start_s(priority: int) -> float:
    """Seconds that a request of this priority is served as if it had arrived earlier; negative: later.

    Args:
        priority: 1 is served first, 9 and above last; 0 is the default, 5.
    """
    level = min(priority, _LAST_PRIORITY) or _DEFAULT_PRIORITY
    return HEAD_START_S * (_DEFAULT_PRIORITY - level)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run that contained rows of a call."""

    rows: int
    """Rows of the run, of all its calls together."""
    calls: int
    """Calls with rows in it."""
    run_s: float
    """Its time."""


class Company(Protocol):
    """The calls of a transport that delivers one in each turn of the event loop."""

    def more_follow(self) -> bool:
        """Whether a call is about to be delivered."""

    def when_received(self, callback: Callable[[], object]) -> None:
        """Call this once, in the turn after the next call is delivered or ends without."""


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
        head_start_s: It is served as if it had arrived so many seconds earlier; see `priority_head_start_s`.
        batches: The runs that contained its rows, if a list was given for them.
        company: The other calls of its transport; None: it delivers all that have arrived in one turn.
    """

    __slots__ = (
        "batches",
        "company",
        "deadline_s",
        "head_start_s",
        "is_admitted",
        "is_disconnected",
        "queued_s",
        "run_s",
    )

    def __init__(
        self,
        *,
        deadline_s: float = math.inf,
        is_disconnected: Callable[[], bool] = _never,
        head_start_s: float = 0.0,
        batches: list[Batch] | None = None,
        company: Company | None = None,
    ) -> None:
        self.deadline_s = deadline_s
        self.is_disconnected = is_disconnected
        self.head_start_s = head_start_s
        self.batches = batches
        self.company = company
        self.queued_s = 0.0
        self.run_s = 0.0
        self.is_admitted = False

    def check_wanted(self) -> None:
        """Whether the result is still wanted: for long work outside of a model run.

        Raises:
            CallerDisconnected: The caller has disconnected.
            DeadlineExceeded: The deadline has passed.
        """
        if self.is_disconnected():
            raise CallerDisconnected
        if time.monotonic() > self.deadline_s:
            raise DeadlineExceeded

    def with_deadline(self, *, deadline_s: float) -> Call:
        """The same call with a later deadline, for the next part of a long response."""
        later = Call(
            deadline_s=deadline_s,
            is_disconnected=self.is_disconnected,
            head_start_s=self.head_start_s,
            batches=self.batches,
            company=self.company,
        )
        later.is_admitted = self.is_admitted
        return later
