"""A socket that listens, or the reason why none can.

Knows addresses. Knows nothing of HTTP, and imports nothing of it: the supervisor of several workers is small.
"""

from __future__ import annotations

import socket


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
            f"--host {host} --port {port}: cannot listen there: {error.strerror or error}. "
            "Stop what uses the port, or choose another with --port or VAE_PORT."
        ) from None
    listener.setblocking(False)
    return listener
