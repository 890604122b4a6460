"""The tensors of the protocol: data types, shapes, and bytes or lists of values to arrays.

Knows data types, NumPy and byte order. Knows nothing of models, JSON or messages. Every size is compared with
the data before anything is allocated.

On the wire a tensor is little-endian and row-major. An element of BYTES is its length, a `<u4`, and its
bytes. BF16 is the upper half of FP32; NumPy has no such type, so an array of it has float32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_store.echo import echo
from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody

Raw = bytes | bytearray | memoryview
Datatype = Literal["FP32", "INT64", "BYTES"]

BYTES: Final = "BYTES"
BF16: Final = "BF16"
#: Data types that the protocol has and NumPy too.
DTYPES: Final = MappingProxyType(
    {
        "BOOL": np.dtype("?"),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
    }
)
#: Every data type of the protocol.
DATATYPES: Final = (*DTYPES, BF16, BYTES)
#: These have no values in JSON, nor in the typed contents of gRPC: they come as bytes only.
BINARY_ONLY: Final = frozenset({"FP16", BF16})
#: Data types that a tensor of the first type also accepts: each value has the same one there.
_WIDENED: Final = MappingProxyType({"FP32": frozenset({"FP16", BF16})})
#: Axes of the longest shape that is read, and the largest size of one.
_MOST_AXES: Final = 8
_LARGEST_SIZE: Final = 2**31 - 1
_LENGTH: Final = struct.Struct("<I")
#: To copy so few bytes takes less time than to make a view of them.
_COPIED_BYTES: Final = 16_384
#: A tensor in a message may begin at any address. One of at most so many bytes is copied as it arrives;
#: otherwise each run copies its rows to an aligned address.
_MOVED_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a model: its name, its data type, and its shape with -1 for the batch."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]


def check_spec(spec: TensorSpec, *, datatype: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a tensor that a request states, if the model accepts it.

    Args:
        spec: The tensor of the model.
        datatype: The stated data type.
        shape: The stated shape.

    Raises:
        InvalidValue: Another data type, another rank, or another size of an axis.
    """
    if datatype != spec.datatype and datatype not in _WIDENED.get(spec.datatype, ()):
        others = sorted(_WIDENED.get(spec.datatype, ()))
        wanted = spec.datatype + (f" (or {' or '.join(others)}, as binary data)" if others else "")
        raise InvalidValue(
            f"{spec.name}: datatype",
            wanted,
            echo(datatype),
            f"Convert the tensor to {spec.datatype}; the metadata of the model lists its tensors.",
        )
    if len(shape) != len(spec.shape) or tuple(shape[1:]) != spec.row:
        raise InvalidValue(
            f"{spec.name}: shape",
            shape_text(("N", *spec.row)),
            shape_text(tuple(shape)),
            "Send the batch axis first, even for one row, and rows of exactly that shape.",
        )
    return tuple(shape)


def check_shape(where: str, shape: object) -> tuple[int, ...]:
    """A shape of a request: a list of whole numbers of at least 0, whose product cannot overflow.

    Raises:
        InvalidValue: Anything else.
    """
    wanted = f"a list of 1 to {_MOST_AXES} integers from 0 to {_LARGEST_SIZE}"
    if not isinstance(shape, list | tuple):
        raise InvalidValue(f"{where}: shape", wanted, describe(shape), "Such as [1, 28, 28].")
    if not 1 <= len(shape) <= _MOST_AXES:
        raise InvalidValue(f"{where}: shape", wanted, f"{len(shape)} of them", "Send the tensor's own shape.")
    for at, size in enumerate(shape):
        if type(size) is not int or not 0 <= size <= _LARGEST_SIZE:
            got = describe(size)
            raise InvalidValue(
                f"{where}: shape[{at}]", wanted, got, "Send the actual sizes, without -1 for the batch."
            )
    return tuple(shape)


def array_from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: Raw) -> NDArray[Any]:
    """A tensor from its bytes on the wire; float32 for FP16 and BF16, an array of bytes objects for BYTES.

    Args:
        name: The tensor, for messages.
        datatype: One of `DATATYPES`.
        shape: A checked shape.
        raw: Exactly the bytes of the tensor. The array may share their memory.

    Raises:
        InvalidValue: An unknown data type.
        MalformedBody: More or fewer bytes than the shape needs.
    """
    if datatype == BYTES:
        return _elements(name, shape, raw)
    dtype = np.dtype("<u2") if datatype == BF16 else DTYPES.get(datatype)
    if dtype is None:
        raise InvalidValue(
            f"{name}: datatype", f"one of {', '.join(DATATYPES)}", echo(datatype), "Correct it."
        )
    needed = math.prod(shape) * dtype.itemsize
    if len(raw) != needed:
        raise MalformedBody(
            f"{name}: data",
            f"{needed} bytes for shape {shape_text(shape)} of {datatype}",
            f"{len(raw)} bytes",
            "Send all values, row by row and little-endian, and nothing else.",
        )
    is_converted = datatype in BINARY_ONLY  # which copies it as well
    if isinstance(raw, memoryview) and len(raw) <= _MOVED_BYTES and not is_converted:
        raw = bytes(raw)
    values = np.frombuffer(raw, dtype=dtype)
    if datatype == BF16:
        values = (values.astype("<u4") << 16).view("<f4")
    elif datatype == "FP16":
        values = values.astype(np.float32)
    return values.reshape(shape)


def _elements(name: str, shape: tuple[int, ...], raw: Raw) -> NDArray[np.object_]:
    """The elements of BYTES."""
    count = math.prod(shape)
    if count * _LENGTH.size > len(raw):
        raise MalformedBody(
            f"{name}: data",
            f"{count} elements, each with its length in 4 bytes, for shape {shape_text(shape)}",
            f"{len(raw)} bytes",
            "Send each element as its length (<u4) and its bytes.",
        )
    data = memoryview(raw)
    elements = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        end = at + _LENGTH.size
        length = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else -1
        if length < 0 or end + length > len(data):
            raise MalformedBody(
                f"{name}[{index}]",
                "4 bytes with a length, and as many bytes",
                f"{len(data) - at} bytes",
                "Send each element as its length (<u4) and its bytes.",
            )
        at = end + length
        elements[index] = bytes(data[end:at])
    if at != len(data):
        raise MalformedBody(
            f"{name}: data", f"{count} elements", f"{len(data) - at} bytes after them", "Correct the shape."
        )
    return elements.reshape(shape)


def array_from_values(
    name: str, datatype: str, shape: tuple[int, ...], values: Sequence[Any] | NDArray[Any]
) -> NDArray[Any]:
    """A tensor from its values, flat and row-major.

    Args:
        name: The tensor, for messages.
        datatype: One of `DATATYPES`.
        shape: A checked shape.
        values: Integers and floats (an integer is a valid float), or an array of them; bytes for BYTES.

    Raises:
        InvalidValue: Another number of values, a value of another type, or a data type that has no values.
    """
    if datatype in BINARY_ONLY:
        remedy = "Send it as binary data, or convert it to FP32."
        raise InvalidValue(f"{name}: data", f"binary data for {datatype}", "a list of values", remedy)
    if len(values) != math.prod(shape):
        raise InvalidValue(
            f"{name}: data",
            f"{math.prod(shape)} values for shape {shape_text(shape)}",
            str(len(values)),
            "Send all values, row by row.",
        )
    if isinstance(values, np.ndarray):
        return values.reshape(shape)
    kinds = _KINDS.get(datatype)
    if kinds is None:
        raise InvalidValue(
            f"{name}: datatype", f"one of {', '.join(DATATYPES)}", echo(datatype), "Correct it."
        )
    if not set(map(type, values)) <= kinds:
        at = next(index for index, value in enumerate(values) if type(value) not in kinds)
        expected = f"a value of {datatype}"
        raise InvalidValue(f"{name}: data[{at}]", expected, describe(values[at]), "Send plain values only.")
    if datatype == BYTES:
        elements = np.empty(len(values), dtype=object)
        elements[:] = values
        return elements.reshape(shape)
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
        for at, value in enumerate(values):
            if not low <= value <= high:
                expected = f"an integer from {low} to {high}"
                raise InvalidValue(f"{name}: data[{at}]", expected, describe(value), "Correct the value.")
    # float64 for FP32: the range of the model is checked before anything is rounded.
    return np.array(values, dtype=np.float64 if dtype.kind == "f" else dtype).reshape(shape)


_KINDS: Final = MappingProxyType(
    {
        **{name: frozenset({int}) for name, dtype in DTYPES.items() if dtype.kind in "iu"},
        "FP32": frozenset({int, float}),
        "FP64": frozenset({int, float}),
        "BOOL": frozenset({bool}),
        BYTES: frozenset({bytes}),
    }
)


def raw_of(array: NDArray[Any], datatype: str) -> bytes | memoryview:
    """The bytes of a tensor on the wire; they share the memory of an array that is laid out like that.

    Args:
        array: The values; an array of bytes objects for BYTES.
        datatype: The data type of the tensor.
    """
    if datatype == BYTES:
        return b"".join(_LENGTH.pack(len(each)) + each for each in array.ravel().tolist())
    if array.nbytes <= _COPIED_BYTES:
        return np.asarray(array, dtype=DTYPES[datatype]).tobytes()
    return np.ascontiguousarray(array, dtype=DTYPES[datatype]).reshape(-1).view(np.uint8).data
