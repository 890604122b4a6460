"""The metadata of a PNG, read before any of it is decoded.

Knows the chunk layout (PNG specification, third edition, sections 5 and 11). Knows nothing of pixels. The
result contains only the chunks of the pixels, so that no compressed text, colour profile or animation frame
is ever decoded: they are the cheapest way to make a decoder spend seconds and hundreds of megabytes. The
transparent colour is a number of the file's own depth, because Pillow compares it with pixels that it has
scaled to 8 bits.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.picture_bounds import refuse_too_many_pixels

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
#: Encoders write chunks of 8 kB or more; more chunks are made to waste time.
_MAX_CHUNKS: Final = 2_000
_BYTES_PER_CHUNK: Final = 4_096
_GREY: Final = 0
_COLOUR: Final = 2
_INDEXED: Final = 3
#: Possible bits of a sample for each colour type (specification, table 8).
_BIT_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
#: Samples of a pixel in tRNS, by colour type.
_KEY_SAMPLES: Final = {_GREY: 1, _COLOUR: 3}
_REMEDY: Final = "Save the image again as PNG."


@dataclass(frozen=True)
class PngHeader:
    """Size in pixels and the format of a pixel."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool


@dataclass(frozen=True)
class MinimalPng:
    """An image with sound chunks and a harmless size, not decoded yet."""

    header: PngHeader
    file: bytes
    """A PNG of the chunks for the pixels, with tRNS only if it belongs to a palette."""
    pixel_data: tuple[bytes, ...]
    """The compressed rows: the content of each IDAT chunk."""
    transparent: tuple[int, ...] | None
    """The one transparent grey level or RGB colour, in samples of `header.bit_depth` bits."""
    exif: bytes
    """The content of the first eXIf chunk before the pixels, unread; empty if there is none."""


def minimal_png(data: bytes, *, max_pixels: int) -> MinimalPng:
    """The header, and the file reduced to the chunks for its pixels.

    Args:
        data: The whole file.
        max_pixels: Maximum number of pixels, width times height.

    Raises:
        MalformedBody: Not a PNG, cut short, with a wrong checksum, or with a broken palette or tRNS.
        PictureTooLarge: More pixels than that.
        InvalidValue: An animation.
    """
    header = read_header(data)
    refuse_too_many_pixels(header.width, header.height, max_pixels)
    kept = [SIGNATURE]
    pixel_data: list[bytes] = []
    transparency: bytes | None = None
    exif = b""
    position = len(SIGNATURE)
    max_chunks = _MAX_CHUNKS + len(data) // _BYTES_PER_CHUNK
    for _ in range(max_chunks):
        kind, end = _checked_chunk(data, position)
        body = data[position + 8 : end - 4]
        if kind == b"acTL":
            raise InvalidValue("body", "a still picture", "an animated PNG", "Send one frame of it.")
        if kind == b"tRNS" and transparency is None and not pixel_data:
            # Later or a second time it has no meaning (specification, table 7).
            transparency = body
            if header.colour_type == _INDEXED:
                kept.append(data[position:end])
        if kind == b"eXIf" and not exif and not pixel_data:
            # As a tRNS, it comes before the pixels (specification, table 7).
            exif = body
        if kind == b"IDAT":
            pixel_data.append(body)
        if kind in _KEPT:
            kept.append(data[position:end])
        if kind == b"IEND":
            _check_palette(header, kept)
            transparent = _transparent_colour(header, transparency)
            return MinimalPng(header, b"".join(kept), tuple(pixel_data), transparent, exif)
        position = end
    raise MalformedBody("body", f"a PNG of at most {max_chunks} chunks", "more", _REMEDY)


def read_header(data: bytes) -> PngHeader:
    """Signature and IHDR, exactly the first 33 bytes.

    Raises:
        MalformedBody: They are not those of a PNG.
    """
    if not data.startswith(SIGNATURE):
        raise MalformedBody("body", "a PNG", f"{len(data)} bytes with another beginning", "Send a PNG file.")
    kind, end = _checked_chunk(data, len(SIGNATURE))
    if kind != b"IHDR" or end != 33:
        raise MalformedBody("body", "a PNG that begins with its header", "another chunk first", _REMEDY)
    width, height, bit_depth, colour_type, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if not 1 <= width < 2**31 or not 1 <= height < 2**31:
        raise MalformedBody("body", "a PNG of at least one pixel", shape_text((width, height)), _REMEDY)
    if bit_depth not in _BIT_DEPTHS.get(colour_type, ()):
        got = f"colour type {colour_type} with {bit_depth} bits"
        raise MalformedBody("body", "a valid colour type and bit depth of PNG", got, _REMEDY)
    if methods not in ([0, 0, 0], [0, 0, 1]):
        got = ", ".join(map(str, methods))
        raise MalformedBody("body", "compression 0, filter method 0 and interlace 0 or 1", got, _REMEDY)
    return PngHeader(width, height, bit_depth, colour_type, interlaced=methods[2] == 1)


def _transparent_colour(header: PngHeader, transparency: bytes | None) -> tuple[int, ...] | None:
    """The content of tRNS if the file has neither a palette nor an alpha channel; otherwise None."""
    samples = _KEY_SAMPLES.get(header.colour_type)
    if transparency is None or samples is None:
        return None
    if len(transparency) != 2 * samples:
        raise MalformedBody("body", f"a tRNS of {2 * samples} bytes", f"{len(transparency)}", _REMEDY)
    # Two bytes each for any depth; bits beyond the depth count as 0 (specification, section 11.3.1.1).
    most = (1 << header.bit_depth) - 1
    return tuple(sample & most for sample in struct.unpack(f">{samples}H", transparency))


def _check_palette(header: PngHeader, chunks: list[bytes]) -> None:
    # Pillow would invent a grey palette.
    if header.colour_type == _INDEXED and not any(chunk[4:8] == b"PLTE" for chunk in chunks):
        raise MalformedBody("body", "a palette before the pixels that refer to it", "none", _REMEDY)


def _checked_chunk(data: bytes, position: int) -> tuple[bytes, int]:
    """Type of the chunk at `position`, and its end, after a check that it is whole and undamaged."""
    body = position + 8
    if body > len(data):
        raise MalformedBody("body", "a whole PNG", f"its first {len(data)} bytes", "Send the whole file.")
    length, kind = struct.unpack_from(">I4s", data, position)
    end = body + length + 4
    if end > len(data):
        raise MalformedBody(
            "body",
            f"{end} bytes or more, by the chunk at byte {position}",
            f"{len(data)} bytes",
            "Send the whole file.",
        )
    view = memoryview(data)
    if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
        raise MalformedBody("body", f"a sound chunk at byte {position}", "one with a wrong checksum", _REMEDY)
    return kind, end
