"""Memory that is free, given back to the system.

Knows one function of the C library. A retired model leaves freed blocks all over the heap, which glibc keeps
for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable


def return_memory() -> None:
    """Asks the allocator to give back what it can; does nothing where it cannot be asked."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    with contextlib.suppress(OSError, AttributeError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return lambda _: None
