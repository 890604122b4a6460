"""Taking connections from the listening sockets that several processes share.

Knows sockets and the event loop. Knows nothing of what is spoken on them.

Each process has a socket of its own, to which the system gives its share of the connections. On one socket
for all, whoever wakes first gets nearly all of a burst: of 32 connections over two processes, the busier one
had 26 with uvloop's own accepting and 23 with one connection a turn; with a socket each, 17 (medians of 40
bursts). What would be lost by that, that connections wait for a process that is busy, hangs or is gone, is
made good by the others: they look at its socket every `LOOK_AROUND_S`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from service.log_fields import fields

#: How long a connection may wait for its own process before another one takes it.
LOOK_AROUND_S: Final = 0.1
#: Connections taken in one turn of the event loop: more would hold up those that are open.
_AT_ONCE: Final = 16
#: How long nothing is taken after the system refused, which it does when the process has no descriptor left.
_PAUSE_S: Final = 0.1
#: Nobody's queue is longer, so closing comes to an end whatever clients do.
_LONGEST_QUEUE: Final = 4096
_log = logging.getLogger(__name__)


class Acceptor:
    """Hands connections to protocols until it is closed. The sockets themselves belong to somebody else."""

    def __init__(
        self, own: socket.socket, *others: socket.socket, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._own = own
        self._others = others
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._look_around: asyncio.TimerHandle | None = None
        self._closed = False
        for each in (own, *others):
            each.setblocking(False)
        self._start()
        self._take_others()

    def close(self) -> None:
        """Takes what waits, as a closing socket resets it, and then no further connection."""
        for each in (self._own, *self._others):
            self._take(each, _LONGEST_QUEUE)
        self._closed = True
        self._loop.remove_reader(self._own)
        if self._look_around is not None:
            self._look_around.cancel()

    def _start(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._own, self._take, self._own, _AT_ONCE)

    def _take_others(self) -> None:
        for each in self._others:
            self._take(each, _AT_ONCE)
        if self._others:
            self._look_around = self._loop.call_later(LOOK_AROUND_S, self._take_others)

    def _take(self, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            if self._closed or not self._accept(listener):
                return

    def _accept(self, listener: socket.socket) -> bool:
        """Whether there was a connection."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was quicker, or the client has left already
        except OSError as error:
            _log.error("cannot accept connections", extra=fields(reason=str(error)))
            self._loop.remove_reader(self._own)
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
