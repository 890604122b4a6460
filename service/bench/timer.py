"""Wakes the event loop at a due time to about 0.1 ms; the loop's own timers round to 1 ms.

Knows Linux's timerfd, through ctypes until Python 3.13 is the oldest supported version (os.timerfd_create).
Elsewhere it uses the loop's own timers. Times are in seconds on the clock of `time.perf_counter`. Waits are
relative, so that no two clocks are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_SHORTEST_S = 1e-6


class _Spec(ctypes.Structure):
    """struct itimerspec: interval, then value, each seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Calls `wake` once for each `wake_at`, on the running event loop."""

    def __init__(self, wake: Callable[[], None], *, precise: bool = True) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._descriptor = -1
        if precise:
            with contextlib.suppress(OSError, AttributeError):
                self._libc = ctypes.CDLL(None, use_errno=True)
                self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._elapsed)

    @property
    def is_precise(self) -> bool:
        """Whether the kernel wakes it (timerfd), and not the event loop's timers."""
        return self._descriptor >= 0

    def wake_at(self, due_s: float) -> None:
        """Call back at this moment on the clock of `time.perf_counter`, in seconds."""
        wait_s = max(_SHORTEST_S, due_s - time.perf_counter())
        if self._descriptor < 0:
            self._handle = self._loop.call_later(wait_s, self._wake)
            return
        whole_s = int(wait_s)
        spec = _Spec(0, 0, whole_s, int((wait_s - whole_s) * 1e9))
        self._libc.timerfd_settime(self._descriptor, 0, ctypes.byref(spec), None)

    def close(self) -> None:
        """Stop waiting, and close the descriptor."""
        if self._handle is not None:
            self._handle.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _elapsed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._wake()
