"""A trial run: a matrix product whose result shows whether numbers were rounded to bfloat16.

Knows the encoding of one ONNX graph, and float32. Knows nothing of runtimes. The server cannot import `onnx`,
and a file would be one more to lose, so the few messages are written here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

INPUT: Final = "x"
_OUTPUT: Final = "y"
_SIZE: Final = 64
_FLOAT: Final = 1
_IR_VERSION, _OPSET = 10, 20
#: Not in bfloat16, which has 7 bits after the point.
_VALUE: Final = 1.0 + 2.0**-12
#: The input of a run: 8 rows.
VALUES: Final[NDArray[np.float32]] = np.full((8, _SIZE), _VALUE, np.float32)


def has_rounded(result: NDArray[np.float32]) -> bool:
    """Whether the result for `VALUES` lacks the bits that bfloat16 does not have.

    Args:
        result: float32, shape of `VALUES`: each value is a sum of `_SIZE` inputs.
    """
    # Halfway between the exact sum and that of rounded inputs; float32 is a thousand times as exact.
    return bool(np.abs(result - _SIZE * _VALUE).max() > _SIZE * (_VALUE - 1.0) / 2)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, *content: bytes | str) -> bytes:
    whole = b"".join(part.encode() if isinstance(part, str) else part for part in content)
    return _varint(field << 3 | 2) + _varint(len(whole)) + whole


def _tensor_info(field: int, name: str) -> bytes:
    shape = _bytes(2, _bytes(1, _bytes(2, "batch")), _bytes(1, _number(1, _SIZE)))
    return _bytes(field, _bytes(1, name), _bytes(2, _bytes(1, _number(1, _FLOAT), shape)))


def _graph() -> bytes:
    """`y = x @ ones`, as a ModelProto: the numbers of the fields are those of onnx.proto."""
    product = _bytes(1, _bytes(1, INPUT), _bytes(1, "ones"), _bytes(2, _OUTPUT), _bytes(4, "MatMul"))
    ones = np.ones((_SIZE, _SIZE), "<f4").tobytes()
    weights = _bytes(
        5, _number(1, _SIZE), _number(1, _SIZE), _number(2, _FLOAT), _bytes(8, "ones"), _bytes(9, ones)
    )
    tensors = _tensor_info(11, INPUT), _tensor_info(12, _OUTPUT)
    graph = _bytes(7, product, _bytes(2, "trial"), weights, *tensors)
    return _number(1, _IR_VERSION) + graph + _bytes(8, _number(2, _OPSET))


#: A serialised ONNX model: `INPUT` (batch, 64) float32, one output of the same shape.
GRAPH: Final = _graph()
