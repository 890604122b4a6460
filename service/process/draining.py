"""How a server stops without losing anybody: who is let in, who is heard out, in which order.

Knows listening sockets and connections. Knows nothing of requests. Times are in seconds.

Closing a listening socket resets the connections that the system has accepted and the process has not, and
closing an idle connection resets a request that is just arriving on it. So, before uvicorn closes either:

1. for `delay_s` everything goes on as before, while /readyz says no;
2. the listening sockets refuse new connections, but hand out those they have;
3. every connection is told to close after its next answer, and idle ones get `LINGER_S` to use it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from service.process.sockets import refuse_new_connections, somebody_waits

#: How long an idle connection stays open for a request that is already on its way.
LINGER_S: Final = 0.5
#: How long one of several workers goes on accepting: the supervisor, whose socket it is, refuses meanwhile.
SHARED_LINGER_S: Final = LINGER_S / 2
_LOOK_S: Final = 0.02


class Drained(Protocol):
    """A connection that can be told to end."""

    def drain(self) -> None:
        """An answer under way, or the next one, is the last."""


class Closable(Protocol):
    """A server that listens."""

    def close(self) -> None:
        """Stop listening."""


async def linger(
    connections: Callable[[], Sequence[Drained]],
    *,
    listeners: Sequence[socket.socket],
    servers: Iterable[Closable],
    delay_s: float,
    accepting_s: float = 0.0,
    is_forced: Callable[[], bool],
) -> None:
    """All that comes before connections are closed: at most `delay_s` and a little more than `LINGER_S`.

    Args:
        connections: Those that are open now; asked again and again.
        listeners: Sockets of this process alone, to refuse on. Never one that others still accept from:
            what refuses stays with the socket, and outlives the process.
        servers: Closed once what they had accepted was handed out.
        delay_s: See above.
        accepting_s: For how much longer the servers are open at least. They are until nobody waits on the
            listeners, but no longer than `LINGER_S`.
        is_forced: Whether the operator wants it to end at once.
    """
    until_s = time.monotonic() + delay_s
    # Looked at again and again: a signal handler sets it, and can set no event.
    while time.monotonic() < until_s and not is_forced():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    for listener in listeners:
        refuse_new_connections(listener)
    begun_s = time.monotonic()
    until_s = begun_s + LINGER_S
    closed = False
    while True:
        for connection in connections():
            connection.drain()
        await asyncio.sleep(_LOOK_S)
        now_s = time.monotonic()
        if closed:
            if is_forced() or now_s >= until_s or not connections():
                return
            continue
        # uvloop takes one connection a turn, and turns may be long: only the socket knows if all are in.
        waits = now_s < until_s and any(map(somebody_waits, listeners))
        if is_forced() or (now_s >= begun_s + accepting_s and not waits):
            for server in servers:
                server.close()
            closed = True
            until_s = max(until_s, now_s + LINGER_S / 2)  # for those who came in last
