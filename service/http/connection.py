"""What is known of the connection that a request came on.

Knows four facts. Knows nothing of HTTP or of who asks. Set by the protocol on the event loop and read from
any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

#: Where a request's scope holds its connection, among the extensions.
SCOPE_KEY: Final = "vae.connection"


class Connection:
    """One connection.

    Attributes:
        gone: It is lost: nobody will read an answer.
        timed_out: It was closed because a request was not received in time.
        only_probes: It is beyond the cap on connections: work is refused on it.
        peer: Address of its other end, which may be a proxy; None where the server knows none.
        look: The client sends no more: says whether it has left altogether. From any thread.
    """

    __slots__ = ("gone", "look", "only_probes", "peer", "timed_out")

    def __init__(self) -> None:
        self.gone = False
        self.timed_out = False
        self.only_probes = False
        self.peer: str | None = None
        self.look: Callable[[], bool] | None = None

    def is_disconnected(self) -> bool:
        """Whether the client will read no answer. From any thread."""
        return self.gone or (self.look is not None and self.look())


def connection_of(scope: Any) -> Connection:
    """The connection of a request; one of no consequence where the server tells of none."""
    extensions = scope.get("extensions")
    found = extensions.get(SCOPE_KEY) if extensions else None
    return found if isinstance(found, Connection) else Connection()
