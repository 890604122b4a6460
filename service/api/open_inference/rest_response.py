"""The response to an inference as the bytes of an HTTP response.

Knows the JSON of the protocol, its binary extension, and compression. Knows nothing of models.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.open_inference.messages import InferenceResponse
from service.api.open_inference.tensors import raw_of

_OCTETS: Final = (b"content-type", b"application/octet-stream")
_JSON: Final = (b"content-type", b"application/json")
#: Level of compression: a third of the time of the default, and a few percent longer.
_LEVEL: Final = 1


class InferenceAnswer(Response):
    """A whole response, status 200, its headers ready to send."""

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.body = body
        self.status_code = 200
        self.background = None
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the head and the body."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def response_encoding(accept_encoding: str | None) -> str | None:
    """The compression of a response: only for a client that names exactly one that this server has.

    Libraries send `gzip, deflate, br` by themselves, and Triton's asynchronous client cannot read the result.
    """
    stated = (accept_encoding or "").strip().lower()
    return stated if stated in ("gzip", "deflate") else None


def write_response(response: InferenceResponse, *, is_binary: bool, encoding: str | None) -> Response:
    """The response with each output as JSON or as bytes after the JSON.

    Args:
        response: The response.
        is_binary: Whether outputs are binary that do not choose themselves.
        encoding: The result of `response_encoding`.
    """
    outputs: list[dict[str, Any]] = []
    tensors: list[bytes | memoryview] = []
    for output in response.outputs:
        listed: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.array.shape),
        }
        if output.parameters.get("binary_data", is_binary):
            raw = raw_of(output.array, output.datatype)
            listed["parameters"] = {"binary_data_size": len(raw)}
            tensors.append(raw)
        else:
            listed["data"] = output.array.reshape(-1)
        outputs.append(listed)
    document: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = dict(response.parameters)
    document["outputs"] = outputs
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [_JSON]
    if tensors:
        headers = [_OCTETS, (b"inference-header-content-length", b"%d" % len(text))]
        text = b"".join((text, *tensors))
    if encoding is not None:
        text = _COMPRESS[encoding](text)
        headers.append((b"content-encoding", encoding.encode("ascii")))
    return InferenceAnswer(text, *headers, (b"vary", b"Accept-Encoding"))


_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda data: gzip.compress(data, _LEVEL, mtime=0),
    "deflate": lambda data: zlib.compress(data, _LEVEL),
}
