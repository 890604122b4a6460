"""Wake-ups of the event loop by grpcio: one for all events that wait, in place of one for each.

Knows sockets and grpcio's way to wake a loop. Knows nothing of calls.

A thread of grpcio queues each event and writes a byte into a socket. The loop reads one byte and takes every
event of the queue; the bytes of the others then wake it for nothing, which is a turn each. Four events make a
call.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

#: Bytes that are looked at; any beyond them wake the loop again.
_MOST: Final = 4096


@contextmanager
def joined_wake_ups(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Inside, readers that are added to the loop read the bytes of all wake-ups but one before they run.

    An event is queued before its byte is written, so none is missed. A byte that comes after its event was
    taken wakes the loop for nothing, as before.

    Args:
        loop: The running loop, to which grpcio adds its reader when its first server is made.
    """
    add_reader = loop.add_reader

    def add_joined(reader: Any, callback: Callable[..., object], *args: Any) -> None:
        if isinstance(reader, socket.socket):
            add_reader(reader, _joined, reader, callback, *args)
        else:
            add_reader(reader, callback, *args)

    loop.add_reader = add_joined  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del loop.add_reader


def _joined(wakes: socket.socket, callback: Callable[..., object], *args: Any) -> None:
    surplus = len(wakes.recv(_MOST, socket.MSG_PEEK)) - 1
    if surplus > 0:
        wakes.recv(surplus)
    callback(*args)
