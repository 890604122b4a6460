"""Requests of the Open Inference Protocol as a client writes them, and their responses as arrays.

Knows the wire format alone, and nothing of the server's own reading and writing of it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from http_calls import Answer, Caller

HEADER = "inference-header-content-length"
DTYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "INT64": "<i8", "INT32": "<i4", "UINT8": "u1"}
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """One input: an array, or the elements of BYTES."""

    name: str
    values: Any
    datatype: str | None = None

    @property
    def type(self) -> str:
        return self.datatype or ("BYTES" if isinstance(self.values, list) else _NAMES[self.values.dtype])

    @property
    def shape(self) -> list[int]:
        return [len(self.values)] if isinstance(self.values, list) else list(self.values.shape)

    @property
    def raw(self) -> bytes:
        if isinstance(self.values, list):
            return b"".join(struct.pack("<I", len(each)) + each for each in self.values)
        return np.ascontiguousarray(self.values).tobytes()


def json_request(*tensors: Tensor, outputs: Sequence[Any] = (), **more: Any) -> bytes:
    """A body of JSON alone."""
    inputs = [
        {"name": t.name, "shape": t.shape, "datatype": t.type, "data": np.asarray(t.values).ravel().tolist()}
        for t in tensors
    ]
    return json.dumps({"inputs": inputs, **_named(outputs), **more}).encode()


def binary_request(
    *tensors: Tensor, outputs: Sequence[Any] = (), is_binary: bool = True, **more: Any
) -> tuple[bytes, dict[str, str]]:
    """A body of JSON and then the tensors, and its headers."""
    inputs = [
        {
            "name": t.name,
            "shape": t.shape,
            "datatype": t.type,
            "parameters": {"binary_data_size": len(t.raw)},
        }
        for t in tensors
    ]
    parameters = {"binary_data_output": is_binary, **more.pop("parameters", {})}
    document = {"inputs": inputs, "parameters": parameters, **_named(outputs), **more}
    head = json.dumps(document).encode()
    return head + b"".join(t.raw for t in tensors), {HEADER: str(len(head))}


def _named(outputs: Sequence[Any]) -> dict[str, Any]:
    listed = [{"name": each} if isinstance(each, str) else each for each in outputs]
    return {"outputs": listed} if listed else {}


@dataclass(frozen=True)
class Result:
    """A response to an inference."""

    document: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def read_result(body: bytes, headers: Mapping[str, str]) -> Result:
    """The response as a client reads it."""
    length = int(headers.get(HEADER, len(body)))
    document = json.loads(body[:length])
    at = length
    arrays = {}
    for output in document["outputs"]:
        dtype = np.dtype(DTYPES[output["datatype"]])
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(output["data"], dtype)
        else:
            array = np.frombuffer(body[at : at + size], dtype)
            at += size
        arrays[output["name"]] = array.reshape(output["shape"])
    assert at == len(body), "the body has more than its outputs"
    return Result(document, arrays)


def infer(
    api: Caller, model: str, *tensors: Tensor, headers: Mapping[str, str] | None = None, **more: Any
) -> Result:
    """An inference in binary form that must succeed."""
    body, stated = binary_request(*tensors, **more)
    answer = api.post(f"/v2/models/{model}/infer", body, None, {**stated, **(headers or {})})
    assert answer.status == 200, answer.body[:500]
    return read_result(answer.body, answer.headers)


def infer_json(api: Caller, model: str, *tensors: Tensor, **more: Any) -> Result:
    """The same in JSON."""
    answer = api.post(f"/v2/models/{model}/infer", json_request(*tensors, **more))
    assert answer.status == 200, answer.body[:500]
    assert answer.headers["content-type"] == "application/json"
    return read_result(answer.body, answer.headers)


def refused(answer: Answer, status: int = 400, code: str | None = None) -> str:
    """The text of an error in the form of the protocol, whose status and code are these."""
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert answer.status == status, document
    assert code is None or document["code"] == code, document
    assert document["error"]
    assert len(answer.body) <= 8_000
    return str(document["error"])
