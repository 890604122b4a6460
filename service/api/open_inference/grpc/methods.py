"""The methods of GRPCInferenceService: messages to the protocol's core, and its documents to messages.

Knows the messages and the core. Knows nothing of calls, keys or codes: `door` admits calls and reports
errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from service.api.open_inference.core import OpenInference
from service.api.open_inference.grpc.conversions import (
    write_response,
    write_streamed,
    write_streamed_error,
)
from service.api.open_inference.grpc.definitions import INFERENCE, POOL, inference, message, service_of
from service.api.open_inference.grpc.door import Method, RpcCall
from service.api.open_inference.grpc.remembered_requests import read_request
from service.api.open_inference.grpc.statuses import text_of
from service.api.open_inference.grpc.wire import no_message
from service.api.open_inference.messages import InferenceResponse
from service.app_state import AppState
from service.engine import ModelUnavailable, NoPrior, UnknownModel
from service.http.problems import ProblemError
from service.thread_pool import WorkPool

#: Longer messages are parsed in a thread.
_QUICK_BYTES: Final = 1_048_576
_NO_SHARED_MEMORY: Final = (
    "this server has no shared memory with its clients. Send tensors as raw_input_contents of ModelInfer."
)
_REFUSED: Final = {
    **{
        f"{kind}SharedMemory{verb}": _NO_SHARED_MEMORY
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    "TraceSetting": "traces are a setting of the server (--telemetry), not of a call.",
    "LogSettings": "the log is a setting of the server (--log-level, --access-log), not of a call.",
}


class InferenceMethods:
    """The methods of one application."""

    def __init__(self, app_state: AppState, core: OpenInference) -> None:
        self._app_state = app_state
        self._core = core
        self._pool: WorkPool = app_state.pool

    def methods(self) -> Iterable[Method]:
        """Every method of the service."""
        yield Method(self._path("ModelInfer"), self._infer, infers=True)
        yield Method(self._path("ModelStreamInfer"), self._infer_streamed, _streamed_error, infers=True)
        yield self._method("ServerLive", self._server_live, is_open=True)
        yield self._method("ServerReady", self._server_ready, is_open=True)
        yield self._method("ServerMetadata", self._server_metadata)
        yield self._method("ModelReady", self._model_ready)
        yield self._method("ModelMetadata", self._model_metadata)
        yield self._method("ModelConfig", self._model_config)
        yield self._method("ModelStatistics", self._model_statistics)
        yield self._method("RepositoryIndex", self._repository_index)
        yield self._method("RepositoryModelLoad", self._load)
        yield self._method("RepositoryModelUnload", self._unload)
        for name, reason in _REFUSED.items():
            yield self._method(name, _refusing(name, reason))

    @staticmethod
    def _path(name: str) -> str:
        return f"/{INFERENCE}/{name}"

    def _method(
        self, name: str, run: Callable[[Any, RpcCall], Awaitable[Any]], *, is_open: bool = False
    ) -> Method:
        """A method by the types of its messages in the definition."""
        kind: type[Message] = message(service_of(INFERENCE).methods_by_name[name].input_type.full_name)

        async def answer(call: RpcCall, data: bytes) -> bytes:
            try:
                request = kind.FromString(data)
            except DecodeError:
                raise no_message(kind.DESCRIPTOR.name) from None
            found: bytes = (await run(request, call)).SerializeToString()
            return found

        return Method(self._path(name), answer, is_open=is_open)

    # Inference

    async def _infer(self, call: RpcCall, data: bytes) -> bytes:
        return await self._answered(call, data, write_response)

    async def _infer_streamed(self, call: RpcCall, data: bytes) -> bytes:
        return await self._answered(call, data, write_streamed)

    async def _answered(
        self, call: RpcCall, data: bytes, write: Callable[[InferenceResponse], bytes]
    ) -> bytes:
        assert call.arrival is not None, "methods that infer are admitted"
        with call.trace.phase("parse"):
            if len(data) <= _QUICK_BYTES:
                request = read_request(data)
            else:
                request = await self._pool.run(read_request, data)
        return await self._core.infer(request, call.arrival, call.trace, write)

    # Server and models

    async def _server_live(self, _: Any, __: RpcCall) -> Any:
        return inference("ServerLiveResponse", live=True)

    async def _server_ready(self, _: Any, __: RpcCall) -> Any:
        return inference("ServerReadyResponse", ready=self._core.is_ready)

    async def _server_metadata(self, _: Any, __: RpcCall) -> Any:
        return _filled("ServerMetadataResponse", self._core.server_metadata().model_dump())

    async def _model_ready(self, request: Any, _: RpcCall) -> Any:
        """A model that does not exist is not ready, as with Triton: its clients ask before they load."""
        try:
            await self._core.names.find(request.name, request.version)
        except (UnknownModel, ModelUnavailable, NoPrior):
            return inference("ModelReadyResponse", ready=False)
        return inference("ModelReadyResponse", ready=True)

    async def _model_metadata(self, request: Any, _: RpcCall) -> Any:
        found = await self._core.model_metadata(request.name, request.version)
        return _filled("ModelMetadataResponse", found.model_dump())

    async def _model_config(self, request: Any, _: RpcCall) -> Any:
        found = await self._core.model_config(request.name, request.version)
        return _filled("ModelConfigResponse", {"config": found.model_dump(exclude_defaults=True)})

    async def _model_statistics(self, request: Any, _: RpcCall) -> Any:
        found = await self._core.model_statistics(request.name, request.version)
        return _filled("ModelStatisticsResponse", found.model_dump())

    # Repository

    async def _repository_index(self, request: Any, _: RpcCall) -> Any:
        entries = self._core.repository.index(ready=request.ready)
        return _filled("RepositoryIndexResponse", {"models": [entry.model_dump() for entry in entries]})

    async def _load(self, request: Any, call: RpcCall) -> Any:
        call.caller.authorise_administration(self._app_state.access)
        name = _name(request)
        await self._core.repository.load(name)
        return inference("RepositoryModelLoadResponse", model_name=name, isLoaded=True)

    async def _unload(self, request: Any, call: RpcCall) -> Any:
        call.caller.authorise_administration(self._app_state.access)
        name = _name(request)
        await self._core.repository.unload(name)
        return inference("RepositoryModelUnloadResponse", model_name=name, isUnloaded=True)


def _name(request: Any) -> str:
    """The model of a call of the repository: field 2 of Triton's clients, field 1 of KServe's."""
    found: str = request.model_name or request.repository_name
    return found


def _refusing(name: str, reason: str) -> Callable[[Any, RpcCall], Awaitable[Any]]:
    async def refuse(_: Any, __: RpcCall) -> Any:
        raise ProblemError("not-supported", f"{name}: {reason}")

    return refuse


def _streamed_error(data: bytes, problem: ProblemError) -> bytes:
    """The answer in a stream to a message that failed, with its id if it can be read."""
    try:
        request_id = read_request(data).id
    except Exception:  # it is the reason of the failure
        request_id = ""
    return write_streamed_error(text_of(problem), code=problem.kind.code, request_id=request_id)


def _filled(name: str, document: dict[str, Any]) -> Any:
    """The message with the fields of a document: their names are the protocol's own."""
    return ParseDict(document, inference(name), descriptor_pool=POOL)
