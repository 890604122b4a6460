"""The gRPC port of a server process: reserved before models are loaded, open while the process serves.

Knows sockets and the start and stop of a server. Knows nothing of grpcio, which only a server with this port
imports.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Protocol

from service.log_fields import fields
from service.process.sockets import AddressError, address_text, reserve
from service.process.worker import WorkerPlace
from service.settings import Settings

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """A server of gRPC."""

    async def start(self, address: str) -> None:
        """Listen."""

    async def stop(self, *, delay_s: float, grace_s: float, is_forced: Callable[[], bool]) -> None:
        """Finish all accepted calls."""


class GrpcPort:
    """The port of one process."""

    def __init__(self, server: Listener, settings: Settings, place: WorkerPlace | None) -> None:
        """Reserve the port, unless the supervisor has.

        Args:
            server: What listens there.
            settings: Address and port.
            place: For one of several workers.

        Raises:
            AddressError: Another program has it.
        """
        self._server = server
        self._settings = settings
        self._reserved: socket.socket | None = None
        if place is not None and place.grpc_address is not None:
            self._address = place.grpc_address
        else:
            assert settings.grpc_port is not None, "only a server with this port has one"
            self._reserved = reserve(settings.host, settings.grpc_port, setting="grpc_port")
            self._address = address_text(self._reserved)

    async def open(self) -> None:
        """Listen.

        Raises:
            AddressError: It is not possible.
        """
        try:
            await self._server.start(self._address)
        except OSError as error:
            raise AddressError(f"--grpc-port: cannot listen on {self._address}: {error}.") from None
        _log.info("serving gRPC", extra=fields(address=self._address))

    async def finish(self, *, delay_s: float, is_forced: Callable[[], bool]) -> None:
        """Finish all accepted calls, and stop."""
        grace_s = self._settings.shutdown_grace_s
        await self._server.stop(delay_s=delay_s, grace_s=grace_s, is_forced=is_forced)

    def release(self) -> None:
        """Let other programs have the port."""
        if self._reserved is not None:
            self._reserved.close()
