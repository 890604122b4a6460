"""A client that has closed its sending side: it may read on, or it may have left.

Knows the socket of a connection. Knows nothing of requests.

TCP says the same in both cases: FIN. They differ in what comes back when something is sent: nothing, or RST.
So the first bytes of the answer, which are those of every answer, are sent at once, and a reset shows that
the client has left. A client that reads on gets its answer in two pieces.
"""

from __future__ import annotations

import socket
from typing import Any, Final

#: What every answer of this server begins with.
FIRST_BYTES: Final = b"HTTP/1.1 "
#: Linux, TCP_INFO: the first byte is the state, and this one means that nothing is left of the connection.
_TCP_CLOSE: Final = 7


def was_reset(connection: Any) -> bool:
    """Whether the other side has reset a connection; no where the system does not say.

    Changes nothing, and may be asked from any thread.

    Args:
        connection: The socket of an asyncio transport.
    """
    if not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)
    except OSError:
        return False  # closed here, or no TCP
