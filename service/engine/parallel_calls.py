"""One call for each of several items, some of them at the same time, in threads that end with the last call.

Knows callables and threads. Knows nothing of their work.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")


def run_together(call: Callable[[T], R], items: Iterable[T], at_once: int) -> dict[T, R]:
    """The result of each item's call, by item.

    The calling thread works too. Where the system refuses further threads, fewer calls run at the same time.
    Each thread has the context of the caller, so that its lines in the log name the same request.

    Args:
        call: Any thread may call it.
        items: Each once.
        at_once: Maximum number of calls at the same time.

    Raises:
        BaseException: What the first call that failed raised; calls that have not begun are left out.
    """
    waiting = deque(items)
    results: dict[T, R] = {}
    errors: list[BaseException] = []

    def work() -> None:
        while waiting and not errors:
            try:
                item = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                results[item] = call(item)
            except BaseException as error:
                errors.append(error)

    helpers = []
    for _ in range(min(at_once, len(waiting)) - 1):
        helper = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="vae-load")
        try:
            helper.start()
        except (RuntimeError, MemoryError):
            break
        helpers.append(helper)
    work()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
    return results
