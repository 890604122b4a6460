"""Free memory is returned to the system.

Knows two functions of the C library. A retired model leaves freed blocks all over the heap, which glibc would
keep. So does a run of a large image: each thread has a heap of its own, whose end `malloc_trim` leaves as it
is. glibc puts a block of up to 32 MB on the heap as soon as it has freed one of this size.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from typing import Final

#: Arguments of `mallopt`: a parameter's number in malloc.h, and its value in bytes. Layers of small models
#: have smaller blocks, also in batches of 64.
_BLOCKS_OUTSIDE_OF_HEAPS: Final = (-3, 4 * 1024 * 1024)  # M_MMAP_THRESHOLD
_KEPT_AT_THE_END: Final = (-1, 4 * 1024 * 1024)  # M_TRIM_THRESHOLD


def return_memory() -> None:
    """Have the allocator return free memory; a no-op where the C library lacks the function."""
    _trim()(0)


@functools.cache
def keep_no_large_blocks() -> None:
    """From now on, a block of 4 MB or more goes to the system when it is freed; otherwise from 32 MB on.

    The layers of TAESD have blocks of 17 MB at 256 × 256 pixels. Without this, one run of 512 × 512 pixels
    took 292 MB instead of 212, and the same in four tiles 170 MB instead of 100 (test_exact_tiles).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt: Callable[[int, int], object] = ctypes.CDLL(None).mallopt
        for parameter, value in (_BLOCKS_OUTSIDE_OF_HEAPS, _KEPT_AT_THE_END):
            mallopt(parameter, value)


@functools.cache
def _trim() -> Callable[[int], object]:
    with contextlib.suppress(OSError, AttributeError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return lambda _: None
