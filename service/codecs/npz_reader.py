"""npz files to the npy files in them, bounded before anything is unpacked.

Knows the zip format as far as it takes to bound it (APPNOTE 6.3.10, section 4.3.16). Knows nothing of the
arrays. The standard library unpacks, after the listing at the end of the file has been found to be short:
`zipfile` would otherwise read a listing of any length, which is 90 MB of objects for a body of 8 MiB.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import Final

from service.codecs.describe import describe
from service.codecs.errors import InvalidValue, MalformedBody

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LOCATOR_OF_ZIP64: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
#: More than the listing of some arrays takes: names here are words.
_MOST_LISTING_BYTES: Final = 4_096
#: Stored, as numpy.savez does, and deflated, as numpy.savez_compressed does.
_PACKED_BY: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Exceptions of `zipfile` for passwords, wrong checksums, sizes and offsets.
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
_REMEDY: Final = "Write it with numpy.savez, which puts one array under each name."


def read_npz(data: bytes | bytearray, names: Collection[str], *, max_bytes: int) -> dict[str, bytes]:
    """The npy files by the name of their array, in the order of the file.

    Args:
        data: The whole file, stored or deflated.
        names: Arrays that there may be.
        max_bytes: Most bytes of all of them, unpacked.

    Raises:
        MalformedBody: Not an npz file, or broken.
        InvalidValue: An array of another name, one name twice, or more bytes.
    """
    _refuse_long_listing(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _refuse_entries(entries, names, max_bytes)
            return {_array_name(entry): _unpacked(archive, entry) for entry in entries}
    except _BROKEN as error:
        raise MalformedBody(
            "body", "an npz file that can be unpacked", type(error).__name__, _REMEDY
        ) from error


def _refuse_long_listing(data: bytes | bytearray) -> None:
    """The file ends with the end of its listing, and that is short."""
    end = bytes(data[-_END_BYTES:])
    if len(end) < _END_BYTES or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise MalformedBody(
            "body", "an npz file", f"{len(data)} bytes that do not end like one", f"Send it whole. {_REMEDY}"
        )
    (listing_bytes,) = struct.unpack_from("<I", end, 12)
    locator = data[-_END_BYTES - _LOCATOR_BYTES : -_END_BYTES]
    if listing_bytes > _MOST_LISTING_BYTES or locator.startswith(_LOCATOR_OF_ZIP64):
        raise MalformedBody(
            "body", f"a listing of at most {_MOST_LISTING_BYTES} bytes", "a longer one", _REMEDY
        )


def _refuse_entries(entries: list[zipfile.ZipInfo], names: Collection[str], max_bytes: int) -> None:
    found: set[str] = set()
    for at, entry in enumerate(entries, start=1):
        name = _array_name(entry)
        if name not in names:
            raise InvalidValue(
                f"body: array {at} of the file",
                "one of " + ", ".join(names),
                f"another name, {describe(entry.filename)}",
                "Correct or leave it out.",
            )
        if entry.compress_type not in _PACKED_BY:
            raise NotImplementedError("another compression")  # as `zipfile` does for methods it does not know
        if name in found:
            raise InvalidValue(f"body: {name}", "one array", "several", f"Send {name} once.")
        found.add(name)
    size = sum(entry.file_size for entry in entries)
    if size > max_bytes:
        raise InvalidValue(
            "body", f"at most {max_bytes} bytes of arrays", str(size), "Send fewer rows, or float32."
        )


def _array_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One file, as long as its listing says: `zipfile` unpacks no more, and compares the checksum."""
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise zipfile.BadZipFile("another length than its listing says")
    return data
