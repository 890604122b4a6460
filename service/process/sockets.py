"""A listening socket, or the reason for its failure; and the end of accepting.

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

from service.settings import ENV_PREFIX, flag_of

#: Linux: a classic BPF program that sees each segment from its TCP header on. The flags are byte 13. It drops
#: SYN without ACK (0x02 of 0x12) and passes everything else.
_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


class AddressError(Exception):
    """The server cannot listen on the address; the message names the reason and the remedy."""


def bind(host: str, port: int, *, setting: str = "port") -> socket.socket:
    """A socket that is bound to the address and does not listen yet.

    Args:
        host: Its address or name.
        port: 0: the system chooses.
        setting: The name of the setting behind `port`, for messages.

    Raises:
        AddressError: In use, not permitted, or no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Listen now, so that a second server fails here and not later.
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(
            f"--host {host} {flag_of(setting)} {port}: cannot listen there: {error.strerror or error}. "
            f"{_remedy(error, setting)}"
        ) from None
    listener.setblocking(False)
    return listener


def _remedy(error: OSError, setting: str) -> str:
    if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "Choose an address of this machine, or 0.0.0.0 for all, with --host or VAE_HOST."
    if error.errno == errno.EACCES:
        return f"This user may not use that port. Choose one from 1024 on with {_names(setting)}."
    return f"Stop what uses the port, or choose another with {_names(setting)}."


def _names(setting: str) -> str:
    return f"{flag_of(setting)} or {ENV_PREFIX}{setting.upper()}"


def reserve(host: str, port: int, *, setting: str) -> socket.socket:
    """A socket that keeps other programs off an address until a library listens there by itself.

    It never listens, so it gets no connection. Sockets of the same user with SO_REUSEPORT may listen there;
    other servers of this kind find the address taken, because their `bind` is without it.

    Raises:
        AddressError: As `bind`.
    """
    first = bind(host, port, setting=setting)
    family, address = first.family, first.getsockname()
    first.close()
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without SO_REUSEADDR, which would let others in while no socket listens there.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        reserved.close()
        raise AddressError(
            f"--host {host} {flag_of(setting)} {port}: cannot listen there: {error.strerror or error}. "
            f"{_remedy(error, setting)}"
        ) from None
    return reserved


def address_text(bound: socket.socket) -> str:
    """The address of a socket, such as `127.0.0.1:8001` or `[::1]:8001`."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one address; the system distributes connections over them by client address.

    Raises:
        AddressError: As `bind`. It never joins the sockets of another program.
    """
    first = bind(host, port)
    family, address = first.family, first.getsockname()
    # Share only now, when no other program listens there: otherwise the port could be shared with a stranger.
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
    """Refuse new connections to a listening socket, and keep the waiting ones.

    Without effect on systems that lack the filter; there a connection in the last instant may be reset.
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
