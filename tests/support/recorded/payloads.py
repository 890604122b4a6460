"""Request bodies: JSON, npy, npz and PNG, the same bytes with every version of every library.

Knows file layouts. Knows nothing of what is done with them.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Payload:
    """A body, its media type, and how a transcript shows it; without `shown` its text."""

    data: bytes
    media_type: str | None
    shown: str | None = None


def json_of(document: object) -> Payload:
    """Compact JSON; arrays as nested lists."""
    text = json.dumps(
        document, separators=(",", ":"), ensure_ascii=False, default=lambda array: array.tolist()
    )
    return Payload(text.encode(), "application/json")


def documents(*those: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """JSON objects of any values."""
    return those


def raw_json(data: bytes) -> Payload:
    """Bytes that claim to be JSON."""
    return Payload(data, "application/json")


def npy(array: NDArray[Any], *, version: int = 1) -> Payload:
    """An npy file whose header is written here, so that no version of NumPy pads it otherwise."""
    fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    header = repr({"descr": array.dtype.str, "fortran_order": fortran, "shape": array.shape}).encode()
    data = npy_file(header, array.tobytes(order="A"), version=version)
    order = ", Fortran order" if fortran else ""
    return Payload(data, "application/x-npy", f"(npy {array.dtype.str} {array.shape}{order})")


def npy_file(header: bytes, values: bytes, *, version: int = 1) -> bytes:
    """Magic, version, length, header, values."""
    length = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + b"\n" + values


def npz(**arrays: NDArray[Any]) -> Payload:
    """An npz file, stored, each array as `npy` writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy(array).data)
    listed = ", ".join(f"{name} {array.dtype.str} {array.shape}" for name, array in arrays.items())
    return Payload(buffer.getvalue(), "application/x-npz", f"(npz {listed})")


def png(
    width: int,
    height: int,
    samples: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    chunks: Sequence[tuple[bytes, bytes]] = (),
    told: str = "",
) -> Payload:
    """A PNG whose pixels are stored and not compressed: zlib and its replacements compress differently.

    Args:
        width: In pixels.
        height: In pixels.
        samples: All rows, without the numbers of their filters.
        depth: Bits of a sample.
        colour: Colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        chunks: What stands between header and pixels.
        told: Added to how a transcript shows it.
    """
    stride = len(samples) // height
    rows = b"".join(b"\0" + samples[at : at + stride] for at in range(0, len(samples), stride))
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        *(chunk(kind, data) for kind, data in chunks),
        chunk(b"IDAT", stored + struct.pack(">I", zlib.adler32(rows))),
        chunk(b"IEND", b""),
    ]
    kind = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}[colour]
    shown = f"(PNG {width} × {height}, {kind}, {depth} bits{', ' if told else ''}{told})"
    return Payload(b"".join(parts), "image/png", shown)


_JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsK"
    "DAkKCgr/wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG"
    "E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJ"
    "ipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/AP0gr//Z"
)
_WEBP = "UklGRh4AAABXRUJQVlA4TBEAAAAvB8ABAAdQ5CIXuf+BiOh/AAA="


def jpeg() -> Payload:
    """8 × 8 grey pixels of one level, as a library once wrote them."""
    return Payload(base64.b64decode(_JPEG), "image/jpeg", "(JPEG 8 × 8, grey)")


def webp() -> Payload:
    """8 × 8 grey pixels of one level without losses, as a library once wrote them."""
    return Payload(base64.b64decode(_WEBP), "image/webp", "(WebP 8 × 8, without losses)")


def form(*parts: tuple[str, Payload | str]) -> Payload:
    """A multipart form: files under their names, fields as text."""
    out, shown = b"", []
    for name, part in parts:
        text = isinstance(part, str)
        data = part.encode() if isinstance(part, str) else part.data
        shown.append(f"{name}={part}" if isinstance(part, str) else f"{name}={part.shown}")
        file = "" if text else f'; filename="{name}"'
        head = f'--boundary\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        out += head.encode() + data + b"\r\n"
    shown_parts = ", ".join(shown)
    return Payload(
        out + b"--boundary--\r\n", "multipart/form-data; boundary=boundary", f"(form: {shown_parts})"
    )


def archive(*files: tuple[str, Payload]) -> Payload:
    """A zip archive, stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writer:
        for name, file in files:
            writer.writestr(zipfile.ZipInfo(name), file.data)
    listed = ", ".join(f"{name} {file.shown}" for name, file in files)
    return Payload(buffer.getvalue(), "application/zip", f"(zip: {listed})")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Length, type, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ramp(count: int, *, step: int = 11, most: int = 256) -> bytes:
    """Samples that differ from one to the next."""
    return bytes(at * step % most for at in range(count))


def bits(values: Sequence[int]) -> bytes:
    """One row of samples of one bit, the first in the highest bit."""
    return np.packbits(np.array(values, np.uint8)).tobytes()
