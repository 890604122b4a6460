"""8-bit grey or RGB pixels to a PNG file.

Knows the file layout (PNG specification, third edition, sections 5, 9 and 11). Knows nothing of images of a
model. Half the time of Pillow's writer, 19 µs against 45 for 28 × 28 pixels and 1.0 ms against 1.8 for a
sheet of 408 × 350, for a tenth more bytes, because rows are not filtered.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.codecs.png_chunks import SIGNATURE

#: Twice as fast as the default level for 6 % more bytes.
_COMPRESS_LEVEL: Final = 1
_COLOUR_TYPES: Final = {1: 0, 3: 2}
_BITS_PER_SAMPLE: Final = 8
_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def png_file(pixels: NDArray[np.uint8]) -> bytes:
    """The file of one image; equal pixels yield equal bytes.

    Args:
        pixels: (height, width, channels), channels 1 (grey) or 3 (RGB).
    """
    height, width, channels = pixels.shape
    # Every row begins with the number of its filter; 0 means no filter.
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    return png_of_rows(
        rows.tobytes(),
        width=width,
        height=height,
        colour_type=_COLOUR_TYPES[channels],
        compress_level=_COMPRESS_LEVEL,
    )


def png_of_rows(
    rows: bytes | memoryview,
    *,
    width: int,
    height: int,
    colour_type: int,
    compress_level: int,
    interlaced: bool = False,
) -> bytes:
    """The file of rows that are filtered already, each after the number of its filter.

    Args:
        rows: All rows of the image, or of all its passes, 8 bits a sample.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        colour_type: As in the header: 0, 2, 4 or 6.
        compress_level: Compression level of zlib; 0 only stores.
        interlaced: Whether the rows are those of the seven passes of Adam7.
    """
    # Deflate and adaptive filters, the only methods there are.
    header = struct.pack(">IIBBBBB", width, height, _BITS_PER_SAMPLE, colour_type, 0, 0, interlaced)
    data = zlib.compress(rows, compress_level)
    return b"".join((SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", data), _END))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
