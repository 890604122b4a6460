"""The threads that do what would hold up the event loop: long bodies, big answers, pictures, loading.

Knows callables and threads. Knows nothing of what they compute.
The number of threads is bounded; one request is one call, so that it hops over once and back once.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.trace import current_trace

P = ParamSpec("P")
R = TypeVar("R")


class WorkPool:
    """A few threads of our own: the event loop's default pool is sized by the host and shared."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="vae-work")

    async def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `function` in a thread that sees the caller's context variables, and waits for it.

        The time before a thread was free is the phase `pool` of the request in hand. A caller that is
        cancelled leaves at once; the call itself, once begun, runs to its end.
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
        """Waits for the calls that have begun and drops those that have not."""
        self._executor.shutdown(wait=True, cancel_futures=True)
