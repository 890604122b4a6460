"""Free memory is returned to the system.

Knows one function of the C library. A retired model leaves freed blocks all over the heap, which glibc would
keep.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable


def return_memory() -> None:
    """Have the allocator return free memory; a no-op where the C library lacks the function."""
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    with contextlib.suppress(OSError, AttributeError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return lambda _: None
