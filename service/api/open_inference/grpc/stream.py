"""One open stream of messages: its tasks, its answers in their order, and how long it has been idle.

Knows tasks and times on the monotonic clock. Knows nothing of messages or of limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from service.api.open_inference.grpc.exchange import Caller

#: Messages of one stream that are answered at a time; further ones wait in the client.
STREAM_WINDOW: Final = 64
T = TypeVar("T")


class Stream:
    """One open stream of messages."""

    def __init__(self, caller: Caller) -> None:
        """No message has come."""
        self.caller = caller
        self.writes_s: float | None = None
        """Since when an answer is being sent."""
        self.ends = asyncio.Event()
        """The server ends it."""
        self.answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(STREAM_WINDOW)
        """In the order of the messages; None after the last one."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self.pending = 0
        self.last_s = time.monotonic()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that ends with the stream at the latest."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """End its tasks."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
