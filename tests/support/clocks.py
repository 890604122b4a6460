"""A monotonic clock for tests: it moves when it is told to.

Knows seconds. Knows nothing of what reads it.
"""

from __future__ import annotations


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
