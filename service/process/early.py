"""What a server process does before it imports anything else: it can be signalled from then on.

Knows signals and one environment variable. Imports nothing heavy: a signal that comes before a handler is
installed ends the process, or is ignored where the process is number 1 of its PID namespace, as in a
container without an init.

    SIGHUP            remembered; `hangup_was_held` returns it once, to the part that can read the store again
    SIGTERM, SIGINT   end the process at once with exit code 0: there is nothing to finish yet
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_held: set[int] = set()


def prepare() -> None:
    """Installs the first handlers and keeps BLAS to one thread. Called by entry points alone."""
    signal.signal(signal.SIGHUP, _hold)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # A supervisor starts its workers with SIGHUP blocked, so that one sent in between waits until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    # NumPy's BLAS starts a thread for each core as it is imported, and no run of a model uses them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def hangup_was_held() -> bool:
    """Whether SIGHUP came since `prepare`, or since this was last called."""
    held = signal.SIGHUP in _held
    _held.discard(signal.SIGHUP)
    return held


def ignore_hangups() -> None:
    """From now on SIGHUP does nothing. Called at the end: Python restores the default action as it exits."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def leave_orphans_to_system() -> None:
    """As process 1, has the system bury the children that other processes leave to this one.

    Only for a process that starts none itself.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _hold(number: int, _frame: FrameType | None) -> None:
    _held.add(number)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Not SystemExit: raised within an import it could be caught, and the signal would be lost.
    os._exit(0)
