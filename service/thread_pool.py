"""Threads for work that would block the event loop: long bodies, large responses, images, loading.

Knows callables and threads. Knows nothing of their work. The number of threads is bounded; one request is one
call, so it enters a thread once and returns once; `Room` bounds what calls need besides threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.observability.request_trace import current_trace

P = ParamSpec("P")
R = TypeVar("R")


def startable_now(most: int) -> int:
    """How many of `most` threads the system starts at this moment: starts them and ends them again."""
    done = threading.Event()
    started: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError, MemoryError):
        for _ in range(most):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    done.set()
    for thread in started:
        thread.join()
    return len(started)


def started_executor(threads: int, *, name: str) -> tuple[ThreadPoolExecutor, int]:
    """An executor whose threads all run, and their number: fewer if the system refuses more."""
    while True:
        executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        everybody_is_here = threading.Event()
        started = 0
        # Each call blocks its thread, so that each call needs one more.
        with contextlib.suppress(RuntimeError, MemoryError):
            for _ in range(threads):
                executor.submit(everybody_is_here.wait)
                started += 1
        everybody_is_here.set()
        if threads in (started, 1):
            return executor, started
        executor.shutdown()
        threads = max(1, started)


class Room:
    """Bounds an amount that calls hold at the same time, first come, first served; on one event loop.

    A call that waits here occupies no thread.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def hold(self, amount: int, *, deadline_s: float) -> AsyncIterator[None]:
        """Wait until `amount` more fits, and hold it; more than `most` is held alone.

        Args:
            amount: What the call needs.
            deadline_s: When it is no longer wanted, on the monotonic clock.

        Raises:
            TimeoutError: It did not fit before.
        """
        amount = min(amount, self.most)
        if self._waiting or self.held + amount > self.most:
            await self._wait(amount, deadline_s)
        else:
            self.held += amount
        try:
            yield
        finally:
            self._give_back(amount)

    async def _wait(self, amount: int, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        turn: tuple[int, asyncio.Future[None]] = (amount, loop.create_future())
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
                await turn[1]
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._admit()
            else:  # admitted in the moment of its end
                self._give_back(amount)
            raise

    def _give_back(self, amount: int) -> None:
        self.held -= amount
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.held + self._waiting[0][0] <= self.most:
            amount, turn = self._waiting.popleft()
            self.held += amount
            if not turn.done():
                turn.set_result(None)


class WorkPool:
    """A bounded pool: the event loop's default pool is sized by the host and shared with libraries."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="vae-work")

    def start(self, most: int) -> int:
        """Start the threads before any call, so that no request is the first to need one.

        Args:
            most: Maximum number of threads; at least one is started.

        Returns:
            Number of running threads.
        """
        self._executor.shutdown()
        self._executor, self.threads = started_executor(max(1, min(most, self.threads)), name="vae-work")
        return self.threads

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` in a thread with the caller's context variables, and wait for it.

        The wait for a free thread is the phase `pool` of the current request. A cancelled caller returns at
        once; a call that has begun runs to its end.
        """
        context = contextvars.copy_context()
        submitted = time.perf_counter()

        def timed() -> R:
            trace = current_trace()
            waited = time.perf_counter() - submitted
            trace.phases["pool"] = trace.phases.get("pool", 0.0) + waited
            return function(*args, **kwargs)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: context.run(timed))

    def close(self) -> None:
        """Wait for the calls that have begun, and drop the others."""
        self._executor.shutdown(wait=True, cancel_futures=True)
