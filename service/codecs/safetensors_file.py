"""Safetensors in and out: named arrays behind a JSON header, without pickles.

Knows the layout of the format and the float types of latents. Knows nothing of models. Every size is compared
with the file before anything is allocated.

    8 bytes, little-endian: length of the header
    JSON: {"mu": {"dtype": "F32", "shape": [2, 4, 8, 8], "data_offsets": [0, 2048]}, "__metadata__": {...}}
    the arrays, little-endian, one after the other
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import describe, shape_text
from service.codecs.errors import InvalidValue, MalformedBody

_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 65_536
_MOST_AXES: Final = 16
_METADATA: Final = "__metadata__"
_FLOATS: Final[Mapping[str, np.dtype[Any]]] = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
#: Tensors that may be the latents, the first one that there is: `/encode.safetensors` has mu and logvar.
_LATENTS: Final = ("z", "latents", "latent", "mu")


def encode_safetensors(arrays: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str]) -> bytes:
    """Named float32 arrays as one file; equal arrays yield equal bytes.

    Args:
        arrays: float32 arrays, in their order in the file.
        metadata: Texts for the header.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts: list[bytes] = []
    at = 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts])


def latents_in_safetensors(
    data: bytes | bytearray, name: str
) -> tuple[tuple[int, ...], NDArray[np.floating[Any]]]:
    """Shape and values of the latents in a file: the tensor `name`, or `latents`, `latent` or `mu`.

    Args:
        data: The whole file.
        name: Preferred name of the tensor.

    Returns:
        The shape, and the array in its float type; bfloat16 becomes float32.

    Raises:
        MalformedBody: Not such a file, or offsets that lead elsewhere.
        InvalidValue: No such tensor, or one of another type.
    """
    header, start = _header(data)
    tensors = {key: value for key, value in header.items() if key != _METADATA}
    chosen = next((each for each in (name, *_LATENTS) if each in tensors), None)
    if chosen is None:
        if len(tensors) != 1:
            raise InvalidValue(
                "body", f"a tensor named {name}, or only one", f"{len(tensors)} others", f"Name it {name}."
            )
        (chosen,) = tensors
    entry = tensors[chosen]
    stated: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype_name, shape, offsets = stated.get("dtype"), stated.get("shape"), stated.get("data_offsets")
    if not isinstance(dtype_name, str) or dtype_name not in _FLOATS:
        raise InvalidValue(
            f"{name}: dtype", "F16, BF16, F32 or F64", describe(dtype_name), "Convert it to float32."
        )
    if not (_are_sizes(shape, most=_MOST_AXES) and _are_sizes(offsets, most=2) and len(offsets) == 2):
        raise MalformedBody("body", "a header with shape and data_offsets", "another", "Write it again.")
    dtype = _FLOATS[dtype_name]
    first, last = offsets
    needed = math.prod(shape) * dtype.itemsize
    if last - first != needed or start + last > len(data):
        raise MalformedBody(
            "body",
            f"{needed} bytes of values for shape {shape_text(tuple(shape))}",
            f"{last - first} of {len(data) - start} bytes",
            "Send the whole file.",
        )
    values: NDArray[Any] = np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=start + first)
    if dtype_name == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return tuple(shape), values.reshape(shape)


def _header(data: bytes | bytearray) -> tuple[dict[str, Any], int]:
    """The header, and where the values begin."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or start > len(data):
        raise MalformedBody(
            "body",
            f"a safetensors file with a header of at most {_MAX_HEADER_BYTES} bytes",
            f"{len(data)} bytes with another beginning",
            "Write it with safetensors.numpy.save_file.",
        )
    try:
        header = json.loads(bytes(data[_LENGTH_BYTES:start]))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise MalformedBody(
            "body", "a safetensors header, one JSON object", "another text", "Write it again."
        )
    return header, start


def _are_sizes(value: object, *, most: int) -> TypeGuard[Sequence[int]]:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) <= most
        and all(type(size) is int and 0 <= size < 2**40 for size in value)
    )
