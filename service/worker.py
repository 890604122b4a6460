"""One of several server processes: `python -m service.worker run …`, started by the supervisor alone.

Knows what the supervisor hands over. Everything else is as in a server that is alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerPlace:
    """What one worker is given by its supervisor."""

    listeners: tuple[socket.socket, ...]
    """Its own first, then those of the other workers."""
    heartbeat: Callable[[], None]
    """To be called once a second from the event loop."""
    number: int

    @property
    def of(self) -> int:
        """How many workers there are."""
        return len(self.listeners)

    def reload_siblings(self) -> bool:
        """Has every worker read the store again, this one too."""
        os.kill(os.getppid(), signal.SIGHUP)
        return True


def place_from(text: str) -> WorkerPlace:
    """The place that `supervisor.WORKER_VARIABLE` describes. From now on this process ends with its parent.

    Args:
        text: File descriptor of the heartbeat, the worker's number, and the sockets, its own first.
    """
    beat_text, number_text, sockets_text = text.split(":")
    heartbeat, number = int(beat_text), int(number_text)
    listeners = tuple(socket.socket(fileno=int(each)) for each in sockets_text.split(","))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        sys.exit(1)  # it had ended before we asked
    os.set_blocking(heartbeat, False)
    return WorkerPlace(listeners, lambda: _beat(heartbeat), number=number)


def _beat(heartbeat: int) -> None:
    try:
        os.write(heartbeat, b".")
    except BlockingIOError:
        pass  # the supervisor is busy; it will see that something is there
    except OSError:
        signal.raise_signal(signal.SIGTERM)  # it is gone


if __name__ == "__main__":
    from service.cli import main
    from service.supervisor import WORKER_VARIABLE

    # Taken out of the environment: no process that this one starts is a worker.
    sys.exit(main(sys.argv[1:], place=place_from(os.environ.pop(WORKER_VARIABLE))))
