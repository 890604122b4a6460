"""Accept connections from listening sockets that several processes share.

Knows sockets and the event loop. Knows nothing of the protocols on them.

Each process has its own socket, and the system distributes connections over the sockets. With one socket for
all, the process that wakes first takes nearly all of a burst: of 32 connections over two processes, the
busier one had 26 with uvloop's own accepting and 23 with one connection per turn; with a socket each, 17
(medians of 40 bursts). Separate sockets have one disadvantage: connections would wait for a process that is
busy, hangs or is gone. Therefore the other processes check its socket every `LOOK_AROUND_S`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from service.log_fields import fields

#: How long a connection may wait for its own process before another one accepts it.
LOOK_AROUND_S: Final = 0.1
#: Connections per turn of the event loop: more would delay the open ones.
_AT_ONCE: Final = 16
#: Pause after the system refused a connection, because the process has no free descriptor.
_PAUSE_S: Final = 0.1
#: No queue is longer, so closing ends in any case.
_LONGEST_QUEUE: Final = 4096
_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts connections and passes them to protocols until it is closed.

    The sockets belong to the caller.
    """

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
        """Accept the waiting connections, which closing the socket would reset, and then no more."""
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
        """Accept one connection, and return whether there was one."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was faster, or the client has disconnected
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
            connection.close()  # the connection broke before its first byte
