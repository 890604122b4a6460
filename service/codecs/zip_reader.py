"""zip files to the files in them, bounded before anything is unpacked.

Knows the zip format as far as it takes to bound it (APPNOTE 6.3.10, section 4.3.16). Knows nothing of the
files. The standard library unpacks, after the listing at the end of the archive has been found to be short:
`zipfile` would otherwise read a listing of any length, which is 90 MB of objects for a body of 8 MiB.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.codecs.errors import InvalidValue, MalformedBody

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LOCATOR_OF_ZIP64: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
#: Stored, as numpy.savez does, and deflated, as numpy.savez_compressed and zip do.
_PACKED_BY: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Exceptions of `zipfile` for passwords, wrong checksums, sizes and offsets.
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
#: Bytes of one entry in a listing: a fixed head, a name, and times and owners of various systems.
_LISTING_BYTES_PER_FILE: Final = 512
_SPARE_LISTING_BYTES: Final = 4_096
#: What file managers add to an archive.
_NOT_SENT_ON_PURPOSE: Final = ("__MACOSX/",)
_HIDDEN: Final = ("Thumbs.db", "desktop.ini")
_REMEDY: Final = "Write the archive again, without a password or a comment."


@contextmanager
def opened(
    data: bytes | bytearray, *, most_listing_bytes: int, of: str, remedy: str
) -> Iterator[zipfile.ZipFile]:
    """The archive in `data`; every exception of `zipfile` becomes one error.

    Args:
        data: The whole file.
        most_listing_bytes: Longest listing of files.
        of: What it should be, for messages.
        remedy: How to write one.

    Raises:
        MalformedBody: Not such a file, or broken.
    """
    _refuse_long_listing(data, most_listing_bytes, of, remedy)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except _BROKEN as error:
        raise MalformedBody("body", f"{of} that can be unpacked", type(error).__name__, remedy) from error


def refuse_other_packing(entry: zipfile.ZipInfo) -> None:
    """Raise the error of `zipfile` for methods that it does not know, for those that are not accepted."""
    if entry.compress_type not in _PACKED_BY:
        raise NotImplementedError("another compression")


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One file, as long as its listing says: `zipfile` unpacks no more, and compares the checksum."""
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise zipfile.BadZipFile("another length than its listing says")
    return data


def read_zip(data: bytes | bytearray, *, max_files: int, max_bytes: int) -> list[tuple[str, bytes]]:
    """Name and content of each file, in the order of the listing, without folders and hidden files.

    Args:
        data: The whole archive, stored or deflated.
        max_files: Most files.
        max_bytes: Most bytes of all of them, unpacked.

    Raises:
        MalformedBody: Not a zip archive, or broken.
        InvalidValue: More files or more bytes.
    """
    most_listing = _SPARE_LISTING_BYTES + 2 * max_files * _LISTING_BYTES_PER_FILE
    with opened(data, most_listing_bytes=most_listing, of="a zip archive", remedy=_REMEDY) as archive:
        entries = [entry for entry in archive.infolist() if _is_sent_on_purpose(entry)]
        if len(entries) > max_files:
            raise InvalidValue(
                "body", f"at most {max_files} files", str(len(entries)), "Send them in several requests."
            )
        size = sum(entry.file_size for entry in entries)
        if size > max_bytes:
            raise InvalidValue(
                "body", f"files of at most {max_bytes} bytes together", str(size), "Send fewer at a time."
            )
        for entry in entries:
            refuse_other_packing(entry)
        return [(entry.filename, unpacked(archive, entry)) for entry in entries]


def names_in_zip(data: bytes | bytearray, *, max_files: int) -> list[str] | None:
    """The names of all files in an archive; None for a broken one, whose reader says what is wrong."""
    most_listing = _SPARE_LISTING_BYTES + 2 * max_files * _LISTING_BYTES_PER_FILE
    try:
        with opened(data, most_listing_bytes=most_listing, of="a zip archive", remedy=_REMEDY) as archive:
            return archive.namelist()
    except MalformedBody:
        return None


def _is_sent_on_purpose(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename.rpartition("/")[2]
    return not (
        entry.is_dir()
        or entry.filename.startswith(_NOT_SENT_ON_PURPOSE)
        or name.startswith(".")
        or name in _HIDDEN
    )


def _refuse_long_listing(data: bytes | bytearray, most_bytes: int, of: str, remedy: str) -> None:
    """The file ends with the end of its listing, and that is short."""
    end = bytes(data[-_END_BYTES:])
    if len(end) < _END_BYTES or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise MalformedBody(
            "body", of, f"{len(data)} bytes that do not end like one", f"Send it whole. {remedy}"
        )
    (listing_bytes,) = struct.unpack_from("<I", end, 12)
    locator = data[-_END_BYTES - _LOCATOR_BYTES : -_END_BYTES]
    if listing_bytes > most_bytes or locator.startswith(_LOCATOR_OF_ZIP64):
        raise MalformedBody("body", f"a listing of at most {most_bytes} bytes", "a longer one", remedy)
