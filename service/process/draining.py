"""The order of a shutdown that loses no request: new connections, open connections, running requests.

Knows listening sockets and connections. Knows nothing of requests. Times are in seconds.

Closing a listening socket resets connections that the system has accepted and the process has not. Closing an
idle connection resets a request that is just arriving on it. Therefore three steps precede uvicorn's closing
of both:

1. for `delay_s` the server continues as before, while /readyz returns 503;
2. the listening sockets refuse new connections, but still deliver the waiting ones;
3. every connection closes after its next response, and idle ones have `LINGER_S` for it.
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
#: How long one of several workers still accepts. Meanwhile the supervisor, which owns the socket, refuses.
SHARED_LINGER_S: Final = LINGER_S / 2
_LOOK_S: Final = 0.02


class Drained(Protocol):
    """A connection that can be asked to end."""

    def drain(self) -> None:
        """Close after the current response, or after the next one."""


class Closable(Protocol):
    """A listening server."""

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
    """All steps before connections are closed: at most `delay_s` and slightly more than `LINGER_S`.

    Args:
        connections: Returns the connections that are open now; called repeatedly.
        listeners: Sockets of this process alone, which will refuse. Never pass one that other processes still
            accept from: the refusal stays with the socket and outlives the process.
        servers: Closed after they have delivered all accepted connections.
        delay_s: See above.
        accepting_s: Minimum time for which the servers stay open. They close when no connection waits on the
            listeners, and after `LINGER_S` at the latest.
        is_forced: Returns whether the operator wants an immediate end.
    """
    until_s = time.monotonic() + delay_s
    # Polled: a signal handler sets it, and a signal handler can set no event.
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
        # uvloop accepts one connection per turn, and turns may be long: only the socket knows whether all are
        # in.
        waits = now_s < until_s and any(map(somebody_waits, listeners))
        if is_forced() or (now_s >= begun_s + accepting_s and not waits):
            for server in servers:
                server.close()
            closed = True
            until_s = max(until_s, now_s + LINGER_S / 2)  # for the connections that came last
