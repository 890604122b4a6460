"""Server reflection: tools such as grpcurl ask for the services and the descriptors of their messages.

Knows the pool of descriptors. Knows nothing of the work of a method. It needs no key: like /openapi.json it
describes the server without its state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc import StatusCode

from service.api.open_inference.grpc.definitions import HEALTH, INFERENCE, POOL, REFLECTIONS, message
from service.api.open_inference.grpc.door import Method, RpcCall
from service.api.open_inference.grpc.statuses import status_of, text_of
from service.api.open_inference.grpc.wire import no_message
from service.http.problems import ProblemError

SERVICES: Final = (INFERENCE, HEALTH, *REFLECTIONS)


def reflection_methods() -> Iterator[Method]:
    """The one method of each version; both have the same messages under different names."""
    for service in REFLECTIONS:
        package = service.rpartition(".")[0]
        answers = _Answers(
            message(f"{package}.ServerReflectionRequest"), message(f"{package}.ServerReflectionResponse")
        )
        yield Method(f"/{service}/ServerReflectionInfo", answers.answer, answers.error, is_open=True)


class _Answers:
    """The answers of one version."""

    def __init__(self, request: Any, response: Any) -> None:
        self._request = request
        self._response = response

    async def answer(self, _: RpcCall, data: bytes) -> bytes:
        try:
            request = self._request.FromString(data)
        except DecodeError:
            raise no_message("ServerReflectionRequest") from None
        answer = self._response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in SERVICES:
                    answer.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                self._file(answer, POOL.FindFileByName(request.file_by_filename))
            elif kind == "file_containing_symbol":
                self._file(answer, _file_of(request.file_containing_symbol))
            elif kind == "all_extension_numbers_of_type":
                POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                answer.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
            else:
                raise KeyError(kind)  # proto3 has no extensions
        except KeyError:
            answer.error_response.error_code = StatusCode.NOT_FOUND.value[0]
            answer.error_response.error_message = "This server has nothing of that name."
        return bytes(answer.SerializeToString())

    def error(self, _: bytes, problem: ProblemError) -> bytes:
        answer = self._response()
        answer.error_response.error_code = status_of(problem).value[0]
        answer.error_response.error_message = text_of(problem)
        return bytes(answer.SerializeToString())

    def _file(self, answer: Any, file: Any) -> None:
        """A file; it depends on no other."""
        answer.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)


def _file_of(symbol: str) -> Any:
    """The file of a service, a method, a message or an enum.

    Raises:
        KeyError: There is no such symbol.
    """
    try:
        return POOL.FindFileContainingSymbol(symbol)
    except KeyError:  # the pool does not find methods by their names
        service, _, method = symbol.rpartition(".")
        found = POOL.FindServiceByName(service)
        return found.methods_by_name[method].containing_service.file
