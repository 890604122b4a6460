"""Work that is asked for again and again, and done one run at a time.

Knows one event loop and one coroutine function. Knows nothing of what it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Again:
    """However often it is asked for during a run, one more run follows, which begins after the last call."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        """Nothing runs yet.

        Args:
            work: One run; it handles its own errors.
        """
        self._work = work
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Asks for a run. Called from the event loop."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            await self._work()
