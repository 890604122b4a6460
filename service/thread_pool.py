"""Threads for work that would block the event loop: long bodies, large responses, images, loading.

Knows callables and threads. Knows nothing of their work. The number of threads is bounded; one request is one
call, so it enters a thread once and returns once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable
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
