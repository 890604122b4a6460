"""Keep the memory of one step for the next.

Knows glibc's allocator. Knows nothing of torch. Every step of a training needs blocks of the same sizes, some
of megabytes. glibc gives those back to the system as soon as they are free and asks for them anew, and the
system fills each page with zeros before it is written over: some percent of the time of a step.
"""

from __future__ import annotations

import ctypes

# mallopt's parameters, of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
#: The largest that mallopt takes where a long has eight bytes.
_LARGEST_BLOCK = 32 << 20
_ASKED_AT_ONCE = 64 << 20
_NEVER_GIVEN_BACK = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have blocks of up to 32 MB reused; what a process has taken, it keeps until it ends.

    Returns:
        Whether the C library took it: glibc does, others have no such choice and are left as they are.
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
