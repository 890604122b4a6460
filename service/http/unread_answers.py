"""Responses that a client does not read: their bytes in the kernel, and how long they have waited.

Knows sockets and the counters of Linux. Knows nothing of HTTP. Times are in seconds on the monotonic clock.

The kernel accepts up to 4 MB for a client that reads nothing. It keeps them for five minutes or longer, also
after the process has closed the connection. No limit of the process covers this memory.

    limit_unsent     bounds the bytes that the kernel accepts ahead of the client's window
    ReadProgress     measures how long a client has acknowledged nothing
    ClosingSockets   watches connections that were closed before the client had acknowledged everything
    reset            closes a connection by RST, which frees its memory at once

Progress is the kernel's count of acknowledged bytes. `TCP_USER_TIMEOUT` cannot replace it: Linux (6.18)
counts from the first probe of a zero window, and a window that opens a little does not restart the count.
With 2 s it ended the connection of a client that read 2 kB/s. It is set only on connections that the process
stops watching.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import struct
import sys
import termios
from typing import Any, Final, NamedTuple

from service.log_fields import fields

#: The kernel accepts this many bytes beyond those in flight. A fixed SO_SNDBUF would also bound those in
#: flight, and with them the speed over long distances: 256 KiB at a round trip of 100 ms are 2.6 MB/s.
UNSENT_BYTES: Final = 262_144
#: Connections watched after their end. Each has a file descriptor; the kernel's timeout bounds the others.
MOST_CLOSING: Final = 256
#: A longer pause between two looks is the server's own: the process was stopped, or the machine suspended.
_LONGEST_PAUSE_S: Final = 1.0
_HAS_COUNTERS: Final = sys.platform == "linux"
#: struct tcp_info of linux/tcp.h: state, unacked segments, bytes acknowledged, bytes not sent yet.
_TCP_INFO: Final = struct.Struct("=B23xI92xQ16xI")
#: The kernel sends nothing more in these states of net/tcp_states.h: TIME_WAIT, CLOSE.
_ENDED: Final = (6, 7)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


class SendQueue(NamedTuple):
    """The state of the bytes sent on one connection, from the kernel."""

    waits: bool
    """Some bytes, or the end of the stream, are not acknowledged."""
    acknowledged: int
    """Bytes that the peer has acknowledged since the connection began."""


_UNKNOWN: Final = SendQueue(waits=False, acknowledged=0)


def limit_unsent(listener: socket.socket) -> None:
    """Bounds the unsent bytes in the kernel for every connection that a listening socket will accept."""
    if _HAS_COUNTERS:
        with contextlib.suppress(OSError):  # a sandbox may not know the option; connections work without it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def send_queue(connection: Any) -> SendQueue:
    """The state of a connection's send queue; empty if the system does not report it.

    Args:
        connection: A socket, the stand-in that uvloop has for one, or None.
    """
    if connection is None or not _HAS_COUNTERS:
        return _UNKNOWN
    try:
        facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, unacknowledged, acknowledged, unsent = _TCP_INFO.unpack(facts)
    except (OSError, struct.error):
        return _UNKNOWN  # closed in the meantime, no TCP, or a kernel before 4.6
    return SendQueue(state not in _ENDED and bool(unacknowledged or unsent), acknowledged)


def bytes_in_kernel(connection: Any) -> int:
    """Bytes of a connection's send queue that the peer has not acknowledged; 0 if unknown."""
    if connection is None or not _HAS_COUNTERS:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def reset(transport: Any) -> None:
    """Closes a connection by RST. An ordinary close would leave the unread bytes in the kernel."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class ReadProgress:
    """How long the peer of one connection has acknowledged nothing, although bytes wait for it."""

    __slots__ = ("_looked_s", "_silent_s", "_stall_s", "_taken")

    def __init__(self, stall_s: float) -> None:
        """Args: stall_s: After so long without progress the peer counts as stalled."""
        self._stall_s = stall_s
        self._taken: int | None = None
        self._looked_s = 0.0
        self._silent_s = 0.0

    @property
    def waits(self) -> bool:
        """Whether bytes were waiting for the peer at the last check."""
        return self._taken is not None

    def is_stalled(self, connection: Any, now_s: float, *, buffered_bytes: int = 0) -> bool:
        """Whether the peer has made no progress for too long. Call it a few times a second.

        Silence counts only while the server checks: after a pause of the process no peer is late.

        Args:
            connection: As for `send_queue`.
            now_s: On the clock of `time.monotonic`.
            buffered_bytes: Bytes that the process itself still holds for this connection.
        """
        queue = send_queue(connection)
        if not (queue.waits or buffered_bytes):
            self._taken = None
            return False
        taken = queue.acknowledged if _HAS_COUNTERS else -buffered_bytes
        if taken != self._taken:
            self._taken, self._silent_s = taken, 0.0
        else:
            self._silent_s += min(now_s - self._looked_s, _LONGEST_PAUSE_S)
        self._looked_s = now_s
        return self._silent_s >= self._stall_s


class ClosingSockets:
    """Connections that this server closed, and whose peers have not acknowledged everything yet.

    A duplicate of the socket keeps it visible. The peer sees the end of the stream, as after any close.
    """

    def __init__(self, stall_s: float, *, most: int = MOST_CLOSING) -> None:
        """Nothing is watched yet.

        Args:
            stall_s: As for `ReadProgress`.
            most: Maximum number of watched connections; beyond it the kernel's timeout is set to `stall_s`.
        """
        self._stall_s = stall_s
        self._most = most
        self._held: dict[socket.socket, tuple[ReadProgress, str | None]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, connection: Any, client: str | None) -> None:
        """Call it just before a socket is closed.

        Args:
            connection: As for `send_queue`.
            client: Address of the peer, for the log.
        """
        if not send_queue(connection).waits:
            return
        if len(self._held) >= self._most:
            _leave_to_the_kernel(connection, self._stall_s)
            return
        try:
            held = socket.socket(connection.family, socket.SOCK_STREAM, fileno=os.dup(connection.fileno()))
        except OSError:  # no descriptor is left
            _leave_to_the_kernel(connection, self._stall_s)
            return
        try:
            held.setblocking(False)
            held.shutdown(socket.SHUT_WR)
        except OSError:
            held.close()  # the peer is gone
            return
        self._held[held] = (ReadProgress(self._stall_s), client)

    def sweep(self, now_s: float) -> None:
        """Release the connections that were read, and reset the others that are late.

        Args:
            now_s: On the clock of `time.monotonic`.
        """
        for held, (progress, client) in list(self._held.items()):
            if progress.is_stalled(held, now_s):
                unread = bytes_in_kernel(held)
                _log.info("client reads nothing", extra=fields(client=client, unread_bytes=unread))
                with contextlib.suppress(OSError):
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            elif progress.waits:
                continue
            del self._held[held]
            held.close()

    def release(self) -> None:
        """Leave all of them to the kernel, which bounds their time: the process ends."""
        while self._held:
            held, _ = self._held.popitem()
            _leave_to_the_kernel(held, self._stall_s)
            held.close()


def _leave_to_the_kernel(connection: Any, stall_s: float) -> None:
    if _HAS_COUNTERS and stall_s < 1e6:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1e3 * stall_s) or 1)
