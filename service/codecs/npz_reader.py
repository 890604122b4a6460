"""npz files to the npy files in them, bounded before anything is unpacked.

Knows the names of arrays in an archive. Knows nothing of the arrays; `zip_reader` knows archives.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from typing import Final

from service.codecs.describe import describe
from service.codecs.errors import InvalidValue
from service.codecs.zip_reader import opened, refuse_other_packing, unpacked

#: More than the listing of some arrays takes: names here are words.
_MOST_LISTING_BYTES: Final = 4_096
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
    with opened(data, most_listing_bytes=_MOST_LISTING_BYTES, of="an npz file", remedy=_REMEDY) as archive:
        entries = archive.infolist()
        _refuse_entries(entries, names, max_bytes)
        return {_array_name(entry): unpacked(archive, entry) for entry in entries}


def _refuse_entries(entries: list[zipfile.ZipInfo], names: Collection[str], max_bytes: int) -> None:
    found: set[str] = set()
    for at, entry in enumerate(entries, start=1):
        name = _array_name(entry)
        if name not in names:
            raise InvalidValue(
                f"body: array {at} of the file",
                "one of " + ", ".join(names),
                f"another name, {describe(entry.filename)}",
                f"Give it a name when you write the file: numpy.savez(path, {next(iter(names))}=array).",
            )
        refuse_other_packing(entry)
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
