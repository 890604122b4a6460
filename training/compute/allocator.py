"""Keep the memory of one step for the next.

Knows glibc's allocator. Knows nothing of torch. Every step of a training needs blocks of the same sizes, some
of megabytes. glibc returns those to the system as soon as they are free and requests them again. The system
fills each page with zeros before it is overwritten: some percent of the time of a step.
"""

from __future__ import annotations

import ctypes

# mallopt's parameters, of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
#: The largest value that mallopt accepts if a long has eight bytes.
_LARGEST_BLOCK = 32 << 20
_ASKED_AT_ONCE = 64 << 20
_NEVER_GIVEN_BACK = 2**31 - 1


def keep_freed_memory() -> bool:
    """Reuse blocks of up to 32 MB; the process keeps its memory until it ends.

    Returns:
        Whether the C library accepted it: glibc does, and others have no such option and stay unchanged.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    choices = (
        (_MMAP_THRESHOLD, _LARGEST_BLOCK),
        (_TOP_PAD, _ASKED_AT_ONCE),
        (_TRIM_THRESHOLD, _NEVER_GIVEN_BACK),
    )
    return all(mallopt(parameter, value) == 1 for parameter, value in choices)
