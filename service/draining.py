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
import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

#: How long an idle connection stays open for a request that is already on its way.
LINGER_S: Final = 0.5
_LOOK_S: Final = 0.02
#: Linux: a classic BPF program that sees each segment from its TCP header on. The flags are byte 13; SYN
#: without ACK (0x02 of 0x12) is dropped, everything else let through.
_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


class Drained(Protocol):
    """A connection that can be told to end."""

    def drain(self) -> None:
        """An answer under way, or the next one, is the last."""


class Closable(Protocol):
    """A server that listens."""

    def close(self) -> None: ...


async def linger(
    connections: Callable[[], Sequence[Drained]],
    *,
    listeners: Iterable[socket.socket],
    servers: Iterable[Closable],
    delay_s: float,
    is_forced: Callable[[], bool],
) -> None:
    """All that comes before connections are closed: at most `delay_s` and a little more than `LINGER_S`.

    Args:
        connections: Those that are open now; asked again and again.
        listeners: Sockets to refuse on.
        servers: Closed once what they had accepted was handed out.
        delay_s: See above.
        is_forced: Whether the operator wants it to end at once.
    """
    until_s = time.monotonic() + delay_s
    # Looked at again and again: a signal handler sets it, and can set no event.
    while time.monotonic() < until_s and not is_forced():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    for listener in listeners:
        refuse_new_connections(listener)
    until_s = time.monotonic() + LINGER_S
    closed = False
    while True:
        for connection in connections():
            connection.drain()
        await asyncio.sleep(_LOOK_S)
        if not closed:  # one turn of the loop later: what was queued is accepted
            for server in servers:
                server.close()
            closed = True
        if is_forced() or time.monotonic() >= until_s or not connections():
            return


def refuse_new_connections(listener: socket.socket) -> None:
    """Lets no further connection into the queue of a listening socket, and leaves those in it.

    Where the system does not know the filter, nothing happens: then a connection that is made in the last
    instant may be reset.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    described = struct.pack("HxxxxxxP", len(_DROP_SYN), ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
