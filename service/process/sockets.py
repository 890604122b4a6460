"""A socket that listens, or the reason why none can; and how it stops taking connections.

Knows addresses. Knows nothing of HTTP, and imports nothing of it: the supervisor of several workers is small.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
from typing import Final

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


class AddressError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet.

    Raises:
        AddressError: In use, not allowed, or no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Listening already makes a second server fail here rather than later.
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(
            f"--host {host} --port {port}: cannot listen there: {error.strerror or error}. {_remedy(error)}"
        ) from None
    listener.setblocking(False)
    return listener


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "Choose an address of this machine, or 0.0.0.0 for all, with --host or VAE_HOST."
    if error.errno == errno.EACCES:
        return "This user may not use that port. Choose one from 1024 on with --port or VAE_PORT."
    return "Stop what uses the port, or choose another with --port or VAE_PORT."


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one address, among which the system shares connections by their addresses.

    Raises:
        AddressError: As `bind`; somebody else's sockets are never joined.
    """
    first = bind(host, port)
    family, address = first.family, first.getsockname()
    # Only now is it known that nobody listens there: whoever asks to share may share with a stranger.
    first.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            each = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(address)
            each.listen(2048)
            each.setblocking(False)
    except OSError as error:
        for each in sockets:
            each.close()
        raise AddressError(
            f"--host {host} --port {port}: cannot listen there with several workers: "
            f"{error.strerror or error}. Use --workers 1, or another address."
        ) from None
    return sockets


def refuse_new_connections(listener: socket.socket) -> None:
    """Lets no further connection into the queue of a listening socket, and leaves those in it.

    Where the system does not know the filter, nothing happens: then a connection that is made in the last
    instant may be reset.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    described = struct.pack("HxxxxxxP", len(_DROP_SYN), ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def somebody_waits(listener: socket.socket) -> bool:
    """Whether a connection is in the queue of a listening socket."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))
