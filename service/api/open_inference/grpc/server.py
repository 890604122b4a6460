"""The gRPC server: its methods, its start and its stop, on the event loop of the HTTP server.

Knows grpcio and the settings. Knows nothing of models or of what a method does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from service.api.open_inference.core import OpenInference
from service.api.open_inference.grpc.definitions import HEALTH
from service.api.open_inference.grpc.door import Door, Method
from service.api.open_inference.grpc.exchange import Recorder
from service.api.open_inference.grpc.health import HealthMethods
from service.api.open_inference.grpc.listeners import Listeners
from service.api.open_inference.grpc.methods import InferenceMethods
from service.api.open_inference.grpc.reflection import reflection_methods
from service.app_state import AppState
from service.http.middleware import BodyBudget
from service.observability.access_log import AccessLog
from service.observability.rpc_metrics import RpcMetrics
from service.observability.rpc_spans import RpcSpans

#: How long cancelled calls may take to send their status.
_LAST_S: Final = 1.0
_LOOK_S: Final = 0.05
_log = logging.getLogger(__name__)


class GrpcServer:
    """The services of one application on one port."""

    def __init__(
        self,
        app_state: AppState,
        core: OpenInference,
        *,
        budget: BodyBudget,
        metrics: RpcMetrics,
        spans: RpcSpans | None,
    ) -> None:
        """It does not listen yet.

        Args:
            app_state: Settings, keys and limits.
            core: The protocol.
            budget: Bytes of all messages and bodies in memory, HTTP's included.
            metrics: Counts of calls.
            spans: Spans of calls, if telemetry is on.
        """
        self._settings = app_state.settings
        self._app_state = app_state
        recorder = Recorder(metrics, spans, access_log=AccessLog(app_state.settings.access_log))
        self._door = Door(app_state, core, budget=budget, recorder=recorder)
        self._health = HealthMethods(lambda: core.is_ready)
        self._handler = _Handler(
            self._door,
            [*InferenceMethods(app_state, core).methods(), *self._health.methods(), *reflection_methods()],
            self._health,
        )
        self._listeners: Listeners | None = None

    async def start(self, address: str) -> None:
        """Listen at an address; see `Listeners.start`."""
        self._listeners = Listeners(self._handler, self._settings)
        await self._listeners.start(address)

    async def stop(self, *, delay_s: float, grace_s: float, is_forced: Callable[[], bool]) -> None:
        """Finish all accepted calls.

        For `delay_s` the server continues as before, while its health is NOT_SERVING. Then clients get
        GOAWAY, streams end after the messages that they have sent, and running calls have `grace_s`.

        Args:
            delay_s: See above.
            grace_s: See above.
            is_forced: Returns whether the operator wants an immediate end.
        """
        listeners, self._listeners = self._listeners, None
        if listeners is None:
            return
        await _waited(delay_s, is_forced)
        self._door.drain()
        stopping = asyncio.create_task(listeners.stop(grace_s + _LAST_S))
        try:
            await _waited(grace_s, lambda: stopping.done() or is_forced())
            if not stopping.done():
                self._door.cancel()
                await asyncio.wait({stopping}, timeout=_LAST_S)
        finally:  # uvicorn cancels this if it takes long
            await listeners.stop(None)
        await stopping


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call by its path."""

    def __init__(self, door: Door, methods: list[Method], health: HealthMethods) -> None:
        self._door = door
        self._known = {
            method.path: (
                grpc.stream_unary_rpc_method_handler(_unary(door, method))
                if method.answer_error is None
                else grpc.stream_stream_rpc_method_handler(_stream(door, method))
            )
            for method in methods
        }
        self._known[f"/{HEALTH}/Watch"] = grpc.unary_stream_rpc_method_handler(_watch(door, health))

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call; unknown methods have one too, so that they are counted and logged."""
        path = handler_call_details.method
        return self._known.get(path) or grpc.stream_unary_rpc_method_handler(_unknown(self._door, path))


# Functions and no partial ones: for each call grpcio looks what kind of function its handler is, and unwraps.


def _unary(door: Door, method: Method) -> Callable[[Any, Any], Awaitable[bytes]]:
    async def answer(_messages: Any, context: Any) -> bytes:
        return await door.unary(method, context)

    return answer


def _stream(door: Door, method: Method) -> Callable[[Any, Any], Awaitable[None]]:
    async def answer(_messages: Any, context: Any) -> None:
        await door.stream(method, context)

    return answer


def _watch(door: Door, health: HealthMethods) -> Callable[[bytes, Any], Awaitable[None]]:
    async def answer(data: bytes, context: Any) -> None:
        await door.watch(f"/{HEALTH}/Watch", context, functools.partial(health.watch, context, data))

    return answer


def _unknown(door: Door, path: str) -> Callable[[Any, Any], Awaitable[bytes]]:
    async def answer(_messages: Any, context: Any) -> bytes:
        return await door.unknown(path, context)

    return answer


async def _waited(seconds: float, is_over: Callable[[], bool]) -> None:
    until_s = time.monotonic() + seconds
    # Polled: a signal handler sets the condition, and a signal handler can set no event.
    while time.monotonic() < until_s and not is_over():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
