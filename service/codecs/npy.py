"""NumPy's own file formats: `.npy` in and out, `.npz` out.

Knows the layout of npy 1.0 to 3.0 (numpy.lib.format). Knows nothing of models. A pattern matches the header,
which is never evaluated. Sizes are compared before any allocation, and pickles are impossible.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.ranges import finite_float32, unit_interval
from service.codecs.shapes import image_axes, latent_axes
from service.codecs.zip_writer import stored_zip

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 4096
_ITEM = (
    r"""\s*(?:['"]descr['"]\s*:\s*['"](?P<descr{0}>[<>|=]?[a-zA-Z][0-9]{{1,4}})['"]"""
    r"""|['"]fortran_order['"]\s*:\s*(?P<fortran{0}>True|False)"""
    r"""|['"]shape['"]\s*:\s*\((?P<shape{0}>[0-9,\s]{{0,200}})\))\s*"""
)
_HEADER: Final = re.compile(r"\s*\{" + ",".join(_ITEM.format(i) for i in range(3)) + r",?\s*\}\s*")
_PIXEL_TYPES: Final = ("u1", "f2", "f4", "f8")
_LATENT_TYPES: Final = ("f2", "f4", "f8")


@dataclass(frozen=True)
class _Header:
    descr: str
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int


def decode_npy(
    data: bytes | bytearray,
    shape: Sequence[int],
    *,
    max_images: int,
    where: str = "z",
    is_image: bool | None = None,
    is_bounded: bool = True,
) -> NDArray[np.float32]:
    """Images or latents from an npy file, in either byte order and either memory order.

    Args:
        data: The whole file.
        shape: (C, H, W) for images, as uint8 0 … 255 or floats in [0, 1]; that of one latent, as floats.
        max_images: Maximum number of rows.
        where: Name of latents in messages.
        is_image: Whether `shape` is that of an image; None: if it has three axes.
        is_bounded: Whether numbers of images are pixels in [0, 1], or any finite ones.

    Returns:
        float32, C-contiguous, shape (N, *shape), pixels in [0, 1].

    Raises:
        MalformedBody: Not an npy file, or cut short.
        InvalidValue: Another dtype or shape, or a value out of range.
    """
    is_image = len(shape) == 3 if is_image is None else is_image
    axes = image_axes(shape) if is_image else latent_axes(shape, where=where)
    is_pixels = is_image and is_bounded
    header = _read_header(data)
    kinds = _PIXEL_TYPES if is_pixels else _LATENT_TYPES
    kind = header.descr.lstrip("<>|=")
    if kind not in kinds:
        raise InvalidValue(
            f"{axes.where}: dtype",
            "uint8, float16, float32 or float64" if is_pixels else "float16, float32 or float64",
            header.descr,
            "Convert it with .astype(numpy.float32) before saving.",
        )
    full = axes.accept(header.shape, max_rows=max_images, is_file=True)
    dtype = np.dtype(header.descr)
    expected_bytes = math.prod(header.shape) * dtype.itemsize
    got_bytes = len(data) - header.offset
    if got_bytes != expected_bytes:
        raise MalformedBody(
            "body",
            f"{expected_bytes} bytes of values for shape {shape_text(header.shape)}",
            f"{got_bytes} bytes",
            "Send the whole file and nothing after it.",
        )
    flat = np.frombuffer(data, dtype=dtype, offset=header.offset)
    values = flat.reshape(header.shape, order="F" if header.fortran_order else "C").reshape(full)
    if kind == "u1":
        return np.ascontiguousarray(values, dtype=np.float32) / np.float32(255.0)
    native = values.astype(dtype.newbyteorder("="), copy=False)
    return (unit_interval if is_pixels else finite_float32)(native, where=axes.where)


def shape_in_npy(data: bytes | bytearray) -> tuple[int, ...]:
    """The shape that the header of an npy file states.

    Raises:
        MalformedBody: Not an npy file.
    """
    return _read_header(data).shape


def encode_npy(array: NDArray[Any]) -> bytes:
    """One array as an npy 1.0 file, C-ordered."""
    return npy_header(array.shape, array.dtype) + array.tobytes()


@functools.lru_cache(maxsize=256)
def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The beginning of an npy 1.0 file whose values follow, C-ordered."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def encode_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays as an uncompressed npz file; equal arrays yield equal bytes."""
    return stored_zip({f"{name}.npy": encode_npy(array) for name, array in arrays.items()})


def _read_header(data: bytes | bytearray) -> _Header:
    if not data.startswith(_MAGIC) or len(data) < 12:
        raise MalformedBody(
            "body",
            "an npy file",
            f"{len(data)} bytes with another beginning",
            "Write it with numpy.save, or send JSON with Content-Type: application/json.",
        )
    major = data[6]
    if major not in (1, 2, 3):
        raise MalformedBody("body", "npy version 1, 2 or 3", f"version {major}", "Write it with numpy.save.")
    length_bytes = 2 if major == 1 else 4
    start = 8 + length_bytes
    length = int.from_bytes(data[8:start], "little")
    text = data[start : start + min(length, _MAX_HEADER_BYTES)]
    if length > _MAX_HEADER_BYTES or len(text) < length:
        raise MalformedBody(
            "body",
            f"an npy header of at most {_MAX_HEADER_BYTES} bytes",
            f"{length} in the header, {len(data) - start} in the file",
            "Send the whole file.",
        )
    return _parse_header(text.decode("latin-1"), offset=start + length)


@functools.lru_cache(maxsize=64)  # clients send few different ones, of at most 4 kB
def _parse_header(text: str, *, offset: int) -> _Header:
    matched = _HEADER.fullmatch(text)
    found = {k.rstrip("012"): v for k, v in matched.groupdict().items() if v is not None} if matched else {}
    if set(found) != {"descr", "fortran", "shape"}:
        raise MalformedBody(
            "body",
            "an npy header with descr, fortran_order and shape of a plain array",
            "another header",
            "Save one array of numbers, not of objects or records.",
        )
    sizes = [size.strip() for size in found["shape"].split(",")]
    if sizes and not sizes[-1]:
        sizes.pop()
    if not all(size.isdecimal() and len(size) <= 10 for size in sizes):
        raise MalformedBody("body", "a shape of whole numbers", "another shape", "Write it with numpy.save.")
    return _Header(found["descr"], found["fortran"] == "True", tuple(map(int, sizes)), offset)
