"""A PNG of 16 bits a sample as two of 8: the high bytes and the low bytes.

Knows rows, the reach of filters and Adam7 passes (PNG specification, third edition, sections 8 and 9). Knows
nothing of colours. A filter predicts each byte from the byte of the same channel and half in the pixel to the
left and in the row above. The halves of all samples can therefore be separated before the filters are undone,
and a reader of 8-bit files undoes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
#: Unpacked at a time: zlib's own piece and ours are both in memory for a moment.
_STEP_BYTES: Final = 4_194_304
#: Pillow decodes it a moment later.
_STORED: Final = 0


def byte_planes(png: MinimalPng) -> Iterator[bytes]:
    """Two PNG files of 8 bits, first of the high and then of the low byte of each sample.

    Args:
        png: A picture of 16 bits a sample.

    Raises:
        MalformedBody: The rows cannot be decompressed, or are too few.
    """
    header = png.header
    channels = _CHANNELS[header.colour_type]
    sizes = list(_pass_sizes(header))
    lengths = [rows * (1 + columns * channels * 2) for columns, rows in sizes]
    data = _unpacked(png.pixel_data, sum(lengths))
    for first in (1, 2):
        yield _eight_bits(header, _plane(data, sizes, lengths, first))


def _plane(
    data: bytearray, sizes: list[tuple[int, int]], lengths: list[int], first: int
) -> NDArray[np.uint8]:
    """Every second byte of all rows, each after the number of its filter, one pass after another."""
    halves = [(length - rows) // 2 + rows for (_, rows), length in zip(sizes, lengths, strict=True)]
    plane = np.empty(sum(halves), np.uint8)
    start = begin = 0
    for (_, rows), length, half in zip(sizes, lengths, halves, strict=True):
        block = np.frombuffer(data, np.uint8, length, start).reshape(rows, -1)
        part = plane[begin : begin + half].reshape(rows, -1)
        part[:, 0] = block[:, 0]
        part[:, 1:] = block[:, first::2]
        start += length
        begin += half
    return plane


def _pass_sizes(header: PngHeader) -> Iterator[tuple[int, int]]:
    """Columns and rows of each pass that has pixels."""
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    for left, top, right, down in passes:
        columns = len(range(left, header.width, right))
        rows = len(range(top, header.height, down))
        if columns and rows:
            yield columns, rows


def _unpacked(pixel_data: Iterable[bytes], wanted_bytes: int) -> bytearray:
    data = bytearray()
    unpacker = zlib.decompressobj()
    try:
        for part in pixel_data:
            packed = part
            while packed and len(data) < wanted_bytes:
                data += unpacker.decompress(packed, min(_STEP_BYTES, wanted_bytes - len(data)))
                packed = unpacker.unconsumed_tail
    except zlib.error as error:
        raise _unreadable(type(error).__name__) from error
    if len(data) < wanted_bytes:
        raise _unreadable(f"{len(data)} bytes instead of {wanted_bytes}")
    return data


def _eight_bits(header: PngHeader, rows: NDArray[np.uint8]) -> bytes:
    return png_of_rows(
        rows.data,
        width=header.width,
        height=header.height,
        colour_type=header.colour_type,
        interlaced=header.interlaced,
        compress_level=_STORED,
    )


def _unreadable(got: str) -> MalformedBody:
    return MalformedBody("body", "a PNG with readable pixels", got, "Save the image again as PNG.")
