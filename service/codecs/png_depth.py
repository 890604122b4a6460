"""A PNG of 16 bits a sample as two of 8: the high bytes and the low bytes.

Knows rows, the reach of filters and Adam7 passes (PNG specification, third edition, sections 8 and 9). Knows
nothing of colours. A filter predicts each byte from the byte of the same channel and half in the pixel to the
left and in the row above. The halves of all samples can therefore be separated before the filters are undone,
and a reader of 8-bit files undoes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from service.codecs.errors import MalformedBody
from service.codecs.png_chunks import MinimalPng, PngHeader
from service.codecs.png_writer import png_of_rows

_CHANNELS: Final = {0: 1, 2: 3, 4: 2, 6: 4}
#: First column and row of each Adam7 pass, and the steps to the next (specification, section 8.2).
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
#: Pillow decodes it a moment later.
_STORED: Final = 0


def byte_planes(png: MinimalPng) -> tuple[bytes, bytes]:
    """Two PNG files of 8 bits, of the high and of the low byte of each sample.

    Args:
        png: A picture of 16 bits a sample.

    Raises:
        MalformedBody: The rows cannot be decompressed, or are too few.
    """
    header = png.header
    channels = _CHANNELS[header.colour_type]
    sizes = list(_pass_sizes(header))
    data = _unpacked(png.pixel_data, sum(rows * (1 + columns * channels * 2) for columns, rows in sizes))
    high: list[bytes] = []
    low: list[bytes] = []
    start = 0
    for columns, rows in sizes:
        length = rows * (1 + columns * channels * 2)
        block = np.frombuffer(data, np.uint8, length, start).reshape(rows, -1)
        start += length
        # The number of the row's filter, then every second byte.
        high.append(np.concatenate((block[:, :1], block[:, 1::2]), axis=1).tobytes())
        low.append(np.concatenate((block[:, :1], block[:, 2::2]), axis=1).tobytes())
    return _eight_bits(header, b"".join(high)), _eight_bits(header, b"".join(low))


def _pass_sizes(header: PngHeader) -> Iterator[tuple[int, int]]:
    """Columns and rows of each pass that has pixels."""
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    for left, top, right, down in passes:
        columns = len(range(left, header.width, right))
        rows = len(range(top, header.height, down))
        if columns and rows:
            yield columns, rows


def _unpacked(pixel_data: bytes, wanted_bytes: int) -> bytes:
    try:
        data = zlib.decompressobj().decompress(pixel_data, wanted_bytes)
    except zlib.error as error:
        raise _unreadable(type(error).__name__) from error
    if len(data) < wanted_bytes:
        raise _unreadable(f"{len(data)} bytes instead of {wanted_bytes}")
    return data


def _eight_bits(header: PngHeader, rows: bytes) -> bytes:
    return png_of_rows(
        rows,
        width=header.width,
        height=header.height,
        colour_type=header.colour_type,
        interlaced=header.interlaced,
        compress_level=_STORED,
    )


def _unreadable(got: str) -> MalformedBody:
    return MalformedBody("body", "a PNG with readable pixels", got, "Save the image again as PNG.")
