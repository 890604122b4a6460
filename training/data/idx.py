"""The IDX file format: a header of a few bytes, then raw numbers, often inside gzip.

Knows bytes, headers and lengths. Knows nothing of digits, labels or training. It trusts a header only after
it has counted the bytes behind it, and allocates nothing beyond the ceiling: a few kilobytes of gzip can
claim terabytes.

The layout (LeCun, Cortes and Burges, "The MNIST database", section "File formats"), big-endian:

    offset  size  meaning
    0       2     zero
    2       1     element type; 0x08 is unsigned byte
    3       1     number of axes n
    4       4·n   length of each axis
    4+4·n   ...   the elements, last axis fastest
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from training.errors import DataError

#: Maximum size of a decompressed payload: 22 times the MNIST training images.
MAX_PAYLOAD_BYTES = 1024**3
MAX_AXES = 4

_UNSIGNED_BYTE = 0x08
_ELEMENT_TYPES = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1024**2


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, eq=False)
class IdxFile:
    """One IDX file, completely read and checked."""

    path: Path
    array: npt.NDArray[np.uint8]
    """The elements, in the shape of the header."""
    sha256: str
    """Digest of the decompressed file, header included: recompression does not change it."""


def read_idx(path: Path, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> IdxFile:
    """Read an IDX file of unsigned bytes, gzipped or plain (recognised by content, not by file name).

    Args:
        path: The file.
        max_payload_bytes: A header with a larger payload is rejected before any allocation.

    Returns:
        The array, uint8, and the digest of the decompressed bytes.

    Raises:
        DataError: The file is missing, unreadable, truncated, damaged, not IDX, of another element type,
            empty, too large, or has extra bytes behind its elements.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                    return _read_stream(path, stream, max_payload_bytes)
            return _read_stream(path, raw, max_payload_bytes)
    except FileNotFoundError:
        raise DataError(f"{path}: expected an IDX file, found nothing. Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: expected an IDX file, got a directory. Name the file itself.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: expected a complete gzip stream, got a truncated or damaged one ({error}). Fetch the "
            "file again."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: could not be read ({error}). Check the file and its permissions."
        ) from error


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """Write unsigned bytes as IDX; gzipped, without a time stamp, when the name ends in `.gz`."""
    header = struct.pack(">HBB", 0, _UNSIGNED_BYTE, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=9, mtime=0)
    path.write_bytes(data)


def _read_stream(path: Path, stream: BinaryIO | gzip.GzipFile, max_payload_bytes: int) -> IdxFile:
    digest = hashlib.sha256()
    shape = _read_header(path, stream, digest)
    expected_bytes = math.prod(shape)
    if expected_bytes > max_payload_bytes:
        raise DataError(
            f"{path}: the header claims {_axes(shape)}, {expected_bytes:,} bytes; the maximum is "
            f"{max_payload_bytes:,} bytes. Check that this is the intended file, or split it."
        )
    payload = np.empty(expected_bytes, dtype=np.uint8)
    filled = 0
    while filled < expected_bytes:
        chunk = stream.read(min(_CHUNK_BYTES, expected_bytes - filled))
        if not chunk:
            raise DataError(
                f"{path}: the header claims {_axes(shape)}, {expected_bytes:,} bytes of elements, "
                f"but only {filled:,} follow. The file is truncated: fetch it again."
            )
        digest.update(chunk)
        payload[filled : filled + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        filled += len(chunk)
    if stream.read(1):
        raise DataError(
            f"{path}: the header claims {_axes(shape)}, {expected_bytes:,} bytes of elements, "
            "but more bytes follow. The header or the file is wrong: fetch it again."
        )
    return IdxFile(path=path, array=payload.reshape(shape), sha256=digest.hexdigest())


def _read_header(path: Path, stream: _Readable, digest: hashlib._Hash) -> tuple[int, ...]:
    start = _read_exactly(path, stream, 4)
    digest.update(start)
    zero, element_type, axes = struct.unpack(">HBB", start)
    if zero != 0 or element_type not in _ELEMENT_TYPES:
        raise DataError(
            f"{path}: expected an IDX file, which starts 00 00 08, got {start.hex(' ')}. Use the original "
            "IDX file, gzipped or not."
        )
    if element_type != _UNSIGNED_BYTE:
        raise DataError(
            f"{path}: expected unsigned bytes (type 08), got {_ELEMENT_TYPES[element_type]} "
            f"(type {element_type:02x}). Convert the elements to bytes 0 to 255."
        )
    if not 1 <= axes <= MAX_AXES:
        raise DataError(f"{path}: expected 1 to {MAX_AXES} axes, got {axes}. This is no image or label file.")
    lengths = _read_exactly(path, stream, 4 * axes)
    digest.update(lengths)
    shape = struct.unpack(f">{axes}I", lengths)
    if 0 in shape:
        raise DataError(
            f"{path}: expected at least one element, got {_axes(shape)}. Use a file with content."
        )
    return shape


def _read_exactly(path: Path, stream: _Readable, size_bytes: int) -> bytes:
    parts = bytearray()
    while len(parts) < size_bytes:
        chunk = stream.read(size_bytes - len(parts))
        if not chunk:
            raise DataError(
                f"{path}: expected an IDX header, got the end of the file after {len(parts)} bytes. "
                "The file is empty or truncated: fetch it again."
            )
        parts += chunk
    return bytes(parts)


def _axes(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape) + (" elements" if len(shape) == 1 else "")
