"""A PNG reader and writer of every colour type and depth, from the specification alone.

Knows the PNG specification, third edition; sections are cited. Knows nothing of Pillow or of the service. It
is slow, plain and independent, so that a fast reader can be held against it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from random import Random

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Channels in a pixel, by colour type (section 11.2.1).
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: (colour type, bits of a sample): every combination there is (table 8).
KINDS = tuple(
    (colour, depth)
    for colour, depths in {
        0: (1, 2, 4, 8, 16),
        2: (8, 16),
        3: (1, 2, 4, 8),
        4: (8, 16),
        6: (8, 16),
    }.items()
    for depth in depths
)
#: First column and row, and the steps, of the passes (section 8.2).
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

#: One pixel's samples.
Pixel = tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """What a file states: samples as they are stored, and what gives them a meaning."""

    width: int
    height: int
    depth: int
    colour: int
    pixels: list[list[Pixel]]
    palette: list[Pixel]
    transparency: bytes | None

    def rgba(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Red, green, blue and alpha in [0, 1], at the full depth of the file."""
        pixel = self.pixels[row][column]
        most = (1 << self.depth) - 1
        if self.colour == 3:
            red, green, blue = self.palette[pixel[0]]
            # Entries beyond the chunk are opaque (section 11.3.1.1).
            alphas = self.transparency or b""
            alpha = alphas[pixel[0]] if pixel[0] < len(alphas) else 255
            return red / 255, green / 255, blue / 255, alpha / 255
        colours, alpha_sample = pixel, most
        if self.colour in (4, 6):
            *head, alpha_sample = pixel
            colours = tuple(head)
        elif self.transparency is not None:
            # Only the bits of the file's depth count (section 11.3.1.1).
            key = struct.unpack(f">{len(colours)}H", self.transparency)
            if tuple(sample & most for sample in key) == colours:
                alpha_sample = 0
        red, green, blue = colours if len(colours) == 3 else colours * 3
        return red / most, green / most, blue / most, alpha_sample / most


def chunk(kind: bytes, body: bytes) -> bytes:
    """Length, type, content and checksum (section 5.3)."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write(picture: Picture, *, interlaced: bool, random: Random) -> bytes:
    """The file, each row under a filter that `random` chooses."""
    data = b""
    for columns, rows in _passes(picture.width, picture.height, interlaced):
        before = b""
        for row in rows:
            packed = _packed([picture.pixels[row][column] for column in columns], picture.depth)
            data += _filtered(random.randrange(5), packed, before, _reach(picture))
            before = packed
    header = struct.pack(
        ">IIBBBBB", picture.width, picture.height, picture.depth, picture.colour, 0, 0, interlaced
    )
    palette = b"".join(map(bytes, picture.palette))
    return b"".join(
        (
            SIGNATURE,
            chunk(b"IHDR", header),
            chunk(b"PLTE", palette) if palette else b"",
            b"" if picture.transparency is None else chunk(b"tRNS", picture.transparency),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        )
    )


def read(file: bytes) -> Picture:
    """The picture in a sound file."""
    chunks: dict[bytes, bytes] = {}
    position = len(SIGNATURE)
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        chunks[kind] = chunks.get(kind, b"") + file[position + 8 : position + 8 + length]
        position += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    colours = chunks.get(b"PLTE", b"")
    picture = Picture(
        width,
        height,
        depth,
        colour,
        [[()] * width for _ in range(height)],
        [tuple(colours[at : at + 3]) for at in range(0, len(colours), 3)],
        chunks.get(b"tRNS"),
    )
    data = zlib.decompress(chunks[b"IDAT"])
    at = 0
    for columns, rows in _passes(width, height, bool(interlaced)):
        before = b""
        for row in rows:
            length = (len(columns) * CHANNELS[colour] * depth + 7) // 8
            before = _unfiltered(data[at], data[at + 1 : at + 1 + length], before, _reach(picture))
            at += 1 + length
            for column, pixel in zip(columns, _unpacked(before, picture), strict=False):
                picture.pixels[row][column] = pixel
    return picture


def _passes(width: int, height: int, interlaced: bool) -> list[tuple[range, range]]:
    """Columns and rows of each pass, without the empty ones (section 8.1)."""
    found = [
        (range(left, width, right), range(top, height, down))
        for left, top, right, down in (ADAM7 if interlaced else ((0, 0, 1, 1),))
    ]
    return [(columns, rows) for columns, rows in found if columns and rows]


def _reach(picture: Picture) -> int:
    """Bytes from a pixel to its left neighbour, rounded up to one (section 9.2)."""
    return max(1, CHANNELS[picture.colour] * picture.depth // 8)


def _packed(pixels: list[Pixel], depth: int) -> bytes:
    """Samples as bits, the most significant first, the last byte filled with zeros (section 7.2)."""
    bits = "".join(format(sample, f"0{depth}b") for pixel in pixels for sample in pixel)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def _unpacked(row: bytes, picture: Picture) -> list[Pixel]:
    bits = "".join(format(byte, "08b") for byte in row)
    samples = [int(bits[at : at + picture.depth], 2) for at in range(0, len(bits), picture.depth)]
    channels = CHANNELS[picture.colour]
    return [tuple(samples[at : at + channels]) for at in range(0, len(samples), channels)]


def _filtered(kind: int, row: bytes, before: bytes, reach: int) -> bytes:
    predicted = [_predicted(kind, row, before, at, reach) for at in range(len(row))]
    return bytes((kind, *((byte - guess) % 256 for byte, guess in zip(row, predicted, strict=True))))


def _unfiltered(kind: int, row: bytes, before: bytes, reach: int) -> bytes:
    out = bytearray()
    for at, byte in enumerate(row):
        out.append((byte + _predicted(kind, out, before, at, reach)) % 256)
    return bytes(out)


def _predicted(kind: int, row: bytes | bytearray, before: bytes, at: int, reach: int) -> int:
    """What the filter expects at a byte, from what is left of it and above (section 9.2)."""
    left = row[at - reach] if at >= reach else 0
    above = before[at] if before else 0
    corner = before[at - reach] if before and at >= reach else 0
    if kind == 4:
        # Paeth (section 9.4): the nearest of the three to left + above - corner, in this order.
        guess = left + above - corner
        return min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2)[kind]
