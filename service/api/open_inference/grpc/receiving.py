"""Messages of calls: how long each may take to arrive, whether more follow, and how many bytes are in memory.

Knows tasks, times and the budget of bytes. Knows nothing of gRPC, of what is in a message or of models.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.http.middleware import BodyBudget
from service.http.problems import ProblemError

#: A message arrives within this time after its call begins, unless its client is slow.
_SOON_S: Final = 0.001
T = TypeVar("T")


class Receiving:
    """The calls of one server whose message has not arrived, by age.

    One timer serves all: a timer for each call (`asyncio.timeout`) takes 4 us. Only one event loop uses it.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """No call waits.

        Args:
            limit_s: How long one may.
            clock: Monotonic seconds.
        """
        self._clock = clock
        self._limit_s = limit_s
        self._since_s: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._inferences: dict[asyncio.Task[object], float] = {}
        self._told: list[Callable[[], object]] = []

    async def receive(self, message: Awaitable[T], *, infers: bool = False) -> T:
        """The message, when it has arrived.

        Args:
            message: Waits for it.
            infers: Whether its call runs a model.

        Raises:
            TimeoutError: It did not arrive within the time limit.
        """
        task = asyncio.current_task()
        assert task is not None, "a call is a task"
        loop = asyncio.get_running_loop()
        now_s = self._since_s[task] = self._clock()
        if infers:
            self._inferences[task] = now_s
        if self._timer is None:
            self._watch(loop, self._limit_s)
        before = task.cancelling()
        try:
            return await message
        except asyncio.CancelledError:
            if task not in self._late or task.cancelling() > before + 1:
                raise  # somebody else cancelled it
            raise TimeoutError from None
        finally:
            del self._since_s[task]
            if task in self._late:
                self._late.discard(task)
                task.uncancel()
            if infers:
                del self._inferences[task]
                told, self._told = self._told, []
                for callback in told:
                    loop.call_soon(callback)

    def more_follow(self) -> bool:
        """Whether a call is about to run a model."""
        youngest_s = next(reversed(self._inferences.values()), -math.inf)
        return self._clock() - youngest_s < _SOON_S

    def when_received(self, callback: Callable[[], object]) -> None:
        """Call this once, in the turn after one of these calls has its message, or ends without."""
        self._told.append(callback)

    def _watch(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> None:
        self._timer = loop.call_later(wait_s, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits that are over; look again when the next one will be."""
        self._timer = None
        for task, since_s in self._since_s.items():
            left_s = since_s + self._limit_s - self._clock()
            if left_s > 0:
                self._watch(loop, left_s)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()


class HeldMessage:
    """A message whose bytes are counted while it is in memory."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: BodyBudget, size: int) -> None:
        self._budget = budget
        self._size = size

    def __enter__(self) -> None:
        """Count them.

        Raises:
            ProblemError: `too-busy`: all messages together are too large.
        """
        budget = self._budget
        if budget.held + self._size > budget.most:
            raise ProblemError(
                "too-busy",
                f"All messages together exceed {budget.most} bytes at the moment.",
                headers={"Retry-After": "1"},
            )
        budget.held += self._size

    def __exit__(self, *_: object) -> None:
        self._budget.held -= self._size
