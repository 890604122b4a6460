"""Files to an uncompressed zip, dated 1980, so that equal files yield equal bytes.

Knows the zip format (APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). Knows nothing of the content of the
files. Writes the same bytes as the standard library's `zipfile` (test_zip_writer) in a quarter of its time: 9
µs instead of 35 for the two arrays of a response.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

_VERSION: Final = 20  # 2.0: a reader needs to support only plain files
_MADE_ON_UNIX: Final = 3
_STORED: Final = 0
_MIDNIGHT, _FIRST_OF_JANUARY_1980 = 0, 0x21
_MODE: Final = 0o600 << 16
_MOST_BYTES: Final = 1 << 31  # beyond that, zip needs other headers


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """The archive.

    Args:
        files: Bytes by ASCII name, fewer than 65,536 files and 2 GiB.
    """
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for text, data in files.items():
        name = text.encode("ascii")
        entry = struct.pack(
            "<HHHHHIIIHH",
            _VERSION, 0, _STORED, _MIDNIGHT, _FIRST_OF_JANUARY_1980, zlib.crc32(data), len(data), len(data),
            len(name), 0,
        )  # fmt: skip
        parts += (b"PK\x03\x04", entry, name, data)
        directory += (
            b"PK\x01\x02", bytes((_VERSION, _MADE_ON_UNIX)), entry,
            struct.pack("<HHHII", 0, 0, 0, _MODE, offset), name,
        )  # fmt: skip
        offset += 4 + len(entry) + len(name) + len(data)
    assert offset < _MOST_BYTES
    listing = b"".join(directory)
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(listing), offset, 0)
    return b"".join((*parts, listing, b"PK\x05\x06", end))
