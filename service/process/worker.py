"""One of several server processes: `python -m service run …` with a `Handover` in its environment.

Knows what the supervisor hands over. Everything else is as in a server that is alone.
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

#: Environment of a worker: a `Handover`.
WORKER_VARIABLE: Final = "_VAE_SERVE_WORKER"
_PR_SET_PDEATHSIG = 1
#: What a worker writes to its supervisor: it lives; all workers are to read the store again.
ALIVE: Final = b"."
RELOAD_ALL: Final = b"r"
#: Asks a worker where it stands: it writes the frames of the thread that is interrupted.
ASK_SIGNAL: Final = signal.SIGUSR1


@dataclass(frozen=True)
class Handover:
    """What a supervisor gives to a worker, as text in its environment. Pipes and sockets are descriptors."""

    number: int
    """Of the worker."""
    parent: int
    """The process id of the supervisor. It may be 1: in a container without an init it is."""
    heartbeat: int
    stack: int
    """Where the worker writes its frames when it is asked."""
    listeners: list[int]
    """Its own first, then those of the other workers."""

    def to_text(self) -> str:
        """The text that `from_text` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Handover:
        """What `to_text` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class WorkerPlace:
    """What one worker is given by its supervisor."""

    listeners: tuple[socket.socket, ...]
    """Its own first, then those of the other workers."""
    number: int
    parent: int
    heartbeat: int

    @property
    def of(self) -> int:
        """How many workers there are."""
        return len(self.listeners)

    def beat(self) -> None:
        """Tells the supervisor that the event loop turns. To be called once a second."""
        try:
            os.write(self.heartbeat, ALIVE)
        except BlockingIOError:
            pass  # the supervisor is busy; it will see that something is there
        except OSError:
            signal.raise_signal(signal.SIGTERM)  # it is gone

    def reload_siblings(self) -> bool:
        """Has every worker read the store again, this one too.

        Returns:
            Whether the supervisor was told. It passes that on when a worker can take it, also to one that is
            still starting.
        """
        with contextlib.suppress(OSError):
            return os.write(self.heartbeat, RELOAD_ALL) == len(RELOAD_ALL)
        return False


def inherited_place() -> WorkerPlace | None:
    """The place that the supervisor handed to this process, or None in any other process.

    The variable leaves the environment: no process that this one starts is a worker.
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
    # The supervisor blocked it, so that a question does not end a process that cannot answer yet.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {ASK_SIGNAL})
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != given.parent:
        # It had ended before we asked; whoever has taken its children over is no supervisor.
        sys.exit(f"vae-serve: worker {given.number}: its supervisor, process {given.parent}, is gone; ending")
    listeners = tuple(socket.socket(fileno=each) for each in given.listeners)
    return WorkerPlace(listeners, number=given.number, parent=given.parent, heartbeat=given.heartbeat)
