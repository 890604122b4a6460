"""The servers of grpcio behind one port: how many, their options, their start and stop.

Knows grpcio and the settings. Knows nothing of calls, models or of what a method does.

A server of grpcio accepts one call at a time, and needs some turns of the event loop before it accepts the
next one. Calls of 32 connections then come one by one, each with its own turns. So several servers share the
port, and the kernel deals the connections out to them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from service.api.open_inference.grpc.wake_ups import joined_wake_ups
from service.settings import Settings

#: Servers on the port; fewer if they could have only a few connections each.
_MOST: Final = 8
_LEAST_CONNECTIONS: Final = 100
#: Streams of one connection: each is a call.
_STREAMS_PER_CONNECTION: Final = 128
#: A client that pings more often than this is disconnected (`too_many_pings`).
_SHORTEST_PING_S: Final = 10
#: How long after its last sign of life a client is asked for one, and how long it has to answer.
_KEEPALIVE_S: Final = 60


class Listeners:
    """The servers of one port, with the same handler."""

    def __init__(self, handler: grpc.GenericRpcHandler, settings: Settings) -> None:
        """They do not listen yet. Call it on the event loop.

        Args:
            handler: Finds the handler of a call.
            settings: The limits of connections and messages.
        """
        with joined_wake_ups(asyncio.get_running_loop()):
            self._servers = [
                grpc.aio.server(handlers=[handler], options=options_of(settings, connections=connections))
                for connections in shares_of(settings.max_connections)
            ]

    async def start(self, address: str) -> None:
        """Listen.

        Args:
            address: As gRPC writes it, such as `127.0.0.1:8001`. The port is shared with sockets that this
                program holds.

        Raises:
            OSError: It is not possible there.
        """
        try:
            for server in self._servers:
                server.add_insecure_port(address)
                await server.start()
        except RuntimeError as error:
            await self.stop(None)
            raise OSError(str(error)) from None

    async def stop(self, grace_s: float | None) -> None:
        """Send GOAWAY to every client, and end calls that still run after the grace; None: at once."""
        stops = (server.stop(grace_s) for server in self._servers)
        for found in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found


def shares_of(connections: int) -> list[int]:
    """How many connections each server may have."""
    servers = max(1, min(_MOST, connections // _LEAST_CONNECTIONS))
    least, more = divmod(connections, servers)
    return [least + (number < more) for number in range(servers)]


def options_of(settings: Settings, *, connections: int) -> list[tuple[str, Any]]:
    """The options of one server."""
    receipt_ms = round(1e3 * settings.receipt_timeout_s)
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", min(_STREAMS_PER_CONNECTION, settings.max_grpc_calls)),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", receipt_ms),
        ("grpc.keepalive_time_ms", 1000 * _KEEPALIVE_S),
        ("grpc.keepalive_timeout_ms", receipt_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000 * _SHORTEST_PING_S),
        ("grpc.max_connection_idle_ms", 1000 * settings.keep_alive_s),
        # So have the others and the socket that reserves the port; another program finds it taken.
        ("grpc.so_reuseport", 1),
    ]
