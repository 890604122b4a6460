"""Protobuf fields written by hand, and the question whether a graph is refused as it should be.

Knows the wire format and the guard. Knows nothing of what makes a graph hostile.
"""

from __future__ import annotations

import onnx
import pytest

from model_store import GraphSpec, HostileGraph
from model_store.onnx_guard import check_graph


def refused(data: bytes | onnx.ModelProto, spec: GraphSpec, match: str) -> None:
    raw = data if isinstance(data, bytes) else data.SerializeToString()
    with pytest.raises(HostileGraph, match=match) as caught:
        check_graph(raw, spec, where="store/tiny/1/encoder.onnx")
    assert str(caught.value).startswith("store/tiny/1/encoder.onnx: expected ")
    assert len(str(caught.value)) < 1000


def varint(value: int, *, width: int = 0) -> bytes:
    """A varint, padded with empty groups to `width` bytes: unusual, and legal."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if value or len(out) + 1 < width:
            out.append(byte | 0x80)
        else:
            out.append(byte)
            return bytes(out)


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload
