"""Tensors as their bytes alone, with shape and dtype elsewhere: float16, bfloat16, float32 and uint8.

Knows byte order and sizes. Knows nothing of requests or models. Sizes are compared with the bytes before
anything is allocated. NumPy has no bfloat16, which is the upper half of a float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody

BFLOAT16: Final = "bfloat16"
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "float16": np.dtype("<f2"),
    BFLOAT16: np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
}
DTYPES: Final = tuple(_DTYPES)
#: Axes of the longest shape, and the largest size of one.
MOST_AXES: Final = 8
LARGEST_SIZE: Final = 2**31 - 1


def array_from_bytes(
    data: bytes | bytearray, *, shape: Sequence[int], dtype: str, where: str = "body"
) -> NDArray[Any]:
    """The tensor; float32 for bfloat16, otherwise of its own type.

    Args:
        data: Its bytes, little-endian, row by row.
        shape: The stated sizes.
        dtype: One of `DTYPES`.
        where: Name of the tensor, for messages.

    Raises:
        InvalidValue: An unknown dtype, no axis, too many, or a size below 1.
        MalformedBody: More or fewer bytes than that.
    """
    known = _DTYPES.get(dtype)
    if known is None:
        raise InvalidValue(
            "dtype", f"one of {', '.join(DTYPES)}", describe(dtype), "Convert the tensor first."
        )
    if not 1 <= len(shape) <= MOST_AXES or any(not 1 <= size <= LARGEST_SIZE for size in shape):
        raise InvalidValue(
            "shape",
            f"1 to {MOST_AXES} sizes, each at least 1",
            f"{len(shape)} sizes" if len(shape) > MOST_AXES or not shape else shape_text(tuple(shape)),
            "Send one parameter `shape` for each axis.",
        )
    needed = math.prod(shape) * known.itemsize
    if len(data) != needed:
        raise MalformedBody(
            where,
            f"{needed} bytes for shape {shape_text(tuple(shape))} of {dtype}",
            f"{len(data)} bytes",
            "Send all values, row by row and little-endian, and nothing else.",
        )
    values: NDArray[Any] = np.frombuffer(data, dtype=known)
    if dtype == BFLOAT16:
        values = (values.astype("<u4") << 16).view("<f4")
    return values.reshape(shape)


def bytes_from_array(array: NDArray[np.float32], dtype: str) -> bytes:
    """The bytes of a float32 array in another float type, rounded to the nearest.

    Args:
        array: Finite values.
        dtype: `float16`, `bfloat16` or `float32`. A value beyond float16 becomes infinity.
    """
    if dtype == BFLOAT16:
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        # To the nearest, and to the even one in the middle, as torch rounds.
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        halves: NDArray[np.uint16] = (rounded >> 16).astype("<u2")
        return halves.tobytes()
    with np.errstate(over="ignore"):
        converted: NDArray[Any] = np.ascontiguousarray(array).astype(_DTYPES[dtype], copy=False)
    return converted.tobytes()
