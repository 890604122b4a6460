"""The first step of a server process, before any other import: it installs signal handlers.

Knows signals and one environment variable. Imports nothing heavy. Before a handler is installed, a signal
ends the process. In process number 1 of a PID namespace, such as a container without an init, the system
ignores it instead.

    SIGHUP    remembered; `hangup_was_held` returns it once, when the store can be read again
    SIGTERM   ends the process at once with exit code 0: no request is running yet
    SIGINT    the same in a worker; otherwise it ends the process with one line and exit code 130
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from model_store import interrupts

#: Environment of a worker: a `service.process.worker.Handover`.
WORKER_VARIABLE = "_VAE_SERVE_WORKER"
_held: set[int] = set()


def prepare() -> None:
    """Install the first handlers and limit BLAS to one thread. Only entry points call it."""
    interrupts.end_at_once("vae-serve")
    signal.signal(signal.SIGHUP, _hold)
    signal.signal(signal.SIGTERM, _end)
    if WORKER_VARIABLE in os.environ:
        signal.signal(signal.SIGINT, _end)  # the supervisor received it too, and reports it
    # A supervisor starts its workers with SIGHUP blocked, so that an early SIGHUP waits until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    # NumPy's BLAS starts a thread for each core at its import, and no run of a model uses them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def hangup_was_held() -> bool:
    """Whether SIGHUP came since `prepare`, or since the previous call."""
    held = signal.SIGHUP in _held
    _held.discard(signal.SIGHUP)
    return held


def ignore_hangups() -> None:
    """Ignore SIGHUP from now on. Call it at the end: Python restores the default action as it exits."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def leave_orphans_to_system() -> None:
    """As process 1, let the system reap the orphans that this process inherits.

    Only for a process without children of its own.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _hold(number: int, _frame: FrameType | None) -> None:
    _held.add(number)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Not SystemExit: code within an import could catch it, and the signal would be lost.
    os._exit(0)
