"""The connection of a request.

Knows four facts. Knows nothing of HTTP or of the client. The protocol sets them on the event loop, and any
thread may read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

#: The key of the connection among the extensions of a request's scope.
SCOPE_KEY: Final = "vae.connection"


class Connection:
    """One connection.

    Attributes:
        gone: It is lost: no client will read the response.
        timed_out: The server closed it because a request did not arrive in time.
        only_probes: It exceeds the limit of connections: the server rejects work on it.
        peer: Address of its other end, which may be a proxy; None if the server does not know it.
        look: The client sends no more: returns whether it has disconnected altogether. From any thread.
    """

    __slots__ = ("gone", "look", "only_probes", "peer", "timed_out")

    def __init__(self) -> None:
        self.gone = False
        self.timed_out = False
        self.only_probes = False
        self.peer: str | None = None
        self.look: Callable[[], bool] | None = None

    def is_disconnected(self) -> bool:
        """Whether the client will read no response. From any thread."""
        return self.gone or (self.look is not None and self.look())


def connection_of(scope: Any) -> Connection:
    """The connection of a request; an empty one if the server provides none."""
    extensions = scope.get("extensions")
    found = extensions.get(SCOPE_KEY) if extensions else None
    return found if isinstance(found, Connection) else Connection()
