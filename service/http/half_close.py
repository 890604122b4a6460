"""A client that has closed its sending side: it may still read, or it may have disconnected.

Knows the socket of a connection. Knows nothing of requests.

TCP sends FIN in both cases. They differ in the reply to later bytes: none, or RST. Therefore the first bytes
of the response, which are the same for every response, are sent at once, and a reset shows that the client
has disconnected. A client that still reads gets its response in two pieces.
"""

from __future__ import annotations

import socket
from typing import Any, Final

#: The first bytes of every response of this server.
FIRST_BYTES: Final = b"HTTP/1.1 "
#: Linux, TCP_INFO: the first byte is the state, and this state means that the connection no longer exists.
_TCP_CLOSE: Final = 7


def was_reset(connection: Any) -> bool:
    """Whether the other side has reset a connection; False if the system does not report it.

    It changes nothing, and any thread may call it.

    Args:
        connection: The socket of an asyncio transport.
    """
    if not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)
    except OSError:
        return False  # closed by this process, or no TCP
