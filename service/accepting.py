"""Taking connections from a listening socket that several processes share, one at a time.

Knows sockets and the event loop. Knows nothing of what is spoken on them.

uvloop takes all that waits as soon as it is woken, so whichever process wakes first gets nearly all of a
burst: of 32 connections opened at once, 27 and 5. Taking one for each turn of the loop gives others their
share, and a process that is busy, whose turns are longer, gets fewer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from service.logs import fields

#: How long nothing is taken after the system refused, which it does when the process has no descriptor left.
_PAUSE_S: Final = 0.1
#: Nobody's queue is longer, so closing comes to an end whatever clients do.
_LONGEST_QUEUE: Final = 4096
_log = logging.getLogger(__name__)


class Acceptor:
    """Hands connections to protocols until it is closed. The socket itself belongs to somebody else."""

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._listener.setblocking(False)
        self._start()

    def close(self) -> None:
        """Takes what waits, as a closing socket resets it, and then no further connection."""
        for _ in range(_LONGEST_QUEUE):
            if self._closed or not self._accept():
                break
        self._closed = True
        self._loop.remove_reader(self._listener)

    def _start(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> bool:
        """Whether there was a connection."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was quicker, or the client has left already
        except OSError as error:
            _log.error("cannot accept connections", extra=fields(reason=str(error)))
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_PAUSE_S, self._start)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._hand_over(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _hand_over(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()  # it broke before a byte was read
