"""One of several server processes: `python -m service run …` with a `Handover` in its environment.

Knows the handover of the supervisor. Otherwise a worker equals a single server.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Final

from service.process import early

WORKER_VARIABLE: Final = early.WORKER_VARIABLE
_PR_SET_PDEATHSIG = 1
#: Bytes from a worker to its supervisor: it lives; all workers shall read the store again.
ALIVE: Final = b"."
RELOAD_ALL: Final = b"r"
#: Signal that questions a worker: it writes the stack of the interrupted thread.
ASK_SIGNAL: Final = signal.SIGUSR1


@dataclass(frozen=True)
class Handover:
    """The supervisor's handover to a worker, as text in its environment.

    Pipes and sockets are descriptors.
    """

    number: int
    """Of the worker."""
    parent: int
    """The process id of the supervisor. In a container without an init it may be 1."""
    heartbeat: int
    stack: int
    """The file for the worker's answer to a question: its stack."""
    listeners: list[int]
    """Its own socket first, then those of the other workers."""
    grpc_address: str | None = None
    """Address for gRPC, which the supervisor keeps for the workers."""

    def to_text(self) -> str:
        """The text that `from_text` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Handover:
        """Read the text of `to_text`."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class WorkerPlace:
    """The supervisor's handover to one worker, opened."""

    listeners: tuple[socket.socket, ...]
    """Its own socket first, then those of the other workers."""
    number: int
    parent: int
    heartbeat: int
    grpc_address: str | None = None

    @property
    def of(self) -> int:
        """Number of workers."""
        return len(self.listeners)

    def beat(self) -> None:
        """Report to the supervisor that the event loop turns. Call it once a second."""
        try:
            os.write(self.heartbeat, ALIVE)
        except BlockingIOError:
            pass  # the supervisor is busy; the pipe already contains a byte
        except OSError:
            signal.raise_signal(signal.SIGTERM)  # the supervisor is gone

    def reload_siblings(self) -> bool:
        """Let every worker read the store again, including this one.

        Returns:
            Whether the supervisor received it. It passes the request on to each worker, also to one that
            still starts.
        """
        with contextlib.suppress(OSError):
            return os.write(self.heartbeat, RELOAD_ALL) == len(RELOAD_ALL)
        return False


def inherited_place() -> WorkerPlace | None:
    """The place from the supervisor's handover, or None in any other process.

    The variable leaves the environment, because no child of this process is a worker.
    """
    text = os.environ.pop(WORKER_VARIABLE, None)
    return None if text is None else place_from(text)


def place_from(text: str) -> WorkerPlace:
    """The place that `WORKER_VARIABLE` describes. From now on this process ends with its parent.

    Args:
        text: A `Handover`.
    """
    given = Handover.from_text(text)
    for descriptor in (given.heartbeat, given.stack):
        os.set_blocking(descriptor, False)
    faulthandler.register(ASK_SIGNAL, file=given.stack, all_threads=False)
    # The supervisor blocked it, so that a question never ends a process that cannot answer yet.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {ASK_SIGNAL})
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != given.parent:
        # The supervisor had ended before this call; the new parent is no supervisor.
        sys.exit(f"vae-serve: worker {given.number}: its supervisor, process {given.parent}, is gone; ending")
    listeners = tuple(socket.socket(fileno=each) for each in given.listeners)
    return WorkerPlace(
        listeners,
        number=given.number,
        parent=given.parent,
        heartbeat=given.heartbeat,
        grpc_address=given.grpc_address,
    )
