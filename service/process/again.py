"""Repeated requests for the same work, one run at a time.

Knows one event loop and one coroutine function. Knows nothing of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Again:
    """Any number of requests during a run cause exactly one more run, which begins after the last request."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        """No run is started yet.

        Args:
            work: One run; it handles its own errors.
        """
        self._work = work
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Request a run. Call it from the event loop."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            await self._work()
