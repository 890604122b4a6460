"""gRPC's own health checking: what Kubernetes and balancers call.

Knows the readiness of the application. Knows nothing of models. It needs no key and is answered beyond the
limit of calls, as /readyz.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import DecodeError

from service.api.open_inference.grpc.definitions import HEALTH, INFERENCE, message
from service.api.open_inference.grpc.door import Method, RpcCall
from service.api.open_inference.grpc.wire import no_message
from service.http.problems import Item, ProblemError

#: Services with a health of their own, which is that of the server.
SERVICES: Final = ("", INFERENCE)
#: How often a watcher looks; a change is sent at once after it.
LOOK_S: Final = 0.25
_REQUEST = message("grpc.health.v1.HealthCheckRequest")
_RESPONSE: Any = message("grpc.health.v1.HealthCheckResponse")
_LIST: Any = message("grpc.health.v1.HealthListResponse")
_SERVING: Final = _RESPONSE.ServingStatus.Value("SERVING")
_NOT_SERVING: Final = _RESPONSE.ServingStatus.Value("NOT_SERVING")
_UNKNOWN: Final = _RESPONSE.ServingStatus.Value("SERVICE_UNKNOWN")


class HealthMethods:
    """The service of one application."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        """Nothing is watched.

        Args:
            is_ready: Whether the server can answer now.
        """
        self._is_ready = is_ready

    def methods(self) -> tuple[Method, ...]:
        """The methods with one answer; `watch` is the other."""
        return (
            Method(f"/{HEALTH}/Check", self._check, is_open=True),
            Method(f"/{HEALTH}/List", self._list, is_open=True),
        )

    async def _check(self, _: RpcCall, data: bytes) -> bytes:
        service = _service(data)
        if service not in SERVICES:
            names = " or ".join(SERVICES[1:])
            raise ProblemError.of_item(
                "unknown-model", Item("service", f"nothing or {names}", "another", "Leave it out.")
            )
        return self._answer(service)

    async def _list(self, _: RpcCall, __: bytes) -> bytes:
        answer = _LIST()
        for service in SERVICES:
            answer.statuses[service].status = self._status(service)
        found: bytes = answer.SerializeToString()
        return found

    async def watch(self, context: Any, data: bytes, ends: asyncio.Event) -> None:
        """Send the health now and after each change, until the stream ends.

        Args:
            context: Of the call.
            data: The request.
            ends: Set when the server ends the stream.

        Raises:
            MalformedBody: `data` is no request.
        """
        service, sent = _service(data), None
        while True:
            if (status := self._status(service)) != sent:
                await context.write(self._answer(service))
                sent = status
            if ends.is_set():
                return
            # Polled: readiness depends on the store and on every worker of the engine.
            try:
                await asyncio.wait_for(ends.wait(), LOOK_S)
            except TimeoutError:
                continue

    def _status(self, service: str) -> int:
        if service not in SERVICES:
            return int(_UNKNOWN)
        return int(_SERVING if self._is_ready() else _NOT_SERVING)

    def _answer(self, service: str) -> bytes:
        found: bytes = _RESPONSE(status=self._status(service)).SerializeToString()
        return found


def _service(data: bytes) -> str:
    try:
        request: Any = _REQUEST.FromString(data)
    except DecodeError:
        raise no_message("HealthCheckRequest") from None
    found: str = request.service
    return found
