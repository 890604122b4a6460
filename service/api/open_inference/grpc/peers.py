"""Ends the connection of a client that reads nothing of its answers.

Knows sockets of this process. Knows nothing of calls. grpcio cannot cancel a call whose answer waits for the
client, nor close one connection, so this looks for the socket by the address of its other end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote


def hang_up(peer: str) -> bool:
    """Close the connection to a peer, and return whether there was one.

    Args:
        peer: As gRPC writes it: `ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711`.
    """
    address = _address(peer)
    if address is None:
        return False
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(entry.stat().st_mode) and _shut_down(int(entry.name), address):
                return True
    return False


def _shut_down(descriptor: int, address: tuple[str, int]) -> bool:
    """Shut a socket down if its other end has this address.

    A copy of the descriptor is enough: the socket itself stays with grpcio, which sees its end.
    """
    copy = os.dup(descriptor)
    try:
        found = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with found:
        if found.family not in (socket.AF_INET, socket.AF_INET6) or _plain(found.getpeername()) != address:
            return False
        found.shutdown(socket.SHUT_RDWR)
        return True


def address_of(peer: str) -> str | None:
    """The address in a peer without its port; None for another kind of connection."""
    found = _address(peer)
    return None if found is None else found[0]


def _address(peer: str) -> tuple[str, int] | None:
    kind, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _plain((host.strip("[]"), int(port)))


def _plain(address: tuple[Any, ...]) -> tuple[str, int]:
    """Without the prefix of IPv4 within IPv6."""
    host, port = address[:2]
    return str(host).removeprefix("::ffff:"), int(port)
