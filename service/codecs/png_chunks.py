"""What a PNG says about itself, read before any of it is unpacked.

Knows the chunk layout (PNG specification, third edition, sections 5 and 11). Knows nothing of pixels. The
picture handed on holds only the chunks that make pixels, so that no compressed text, colour profile or
animation frame is ever unpacked: they are the cheapest way to make a decoder spend seconds and hundreds of
megabytes.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from service.codecs.describe import shape_text
from service.codecs.errors import InvalidValue, MalformedBody, PictureTooLarge

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
#: A picture of 65,536 pixels of 64 bits is 64 chunks of 8 kB; more are made to waste time.
_MAX_CHUNKS: Final = 2_000
_INDEXED: Final = 3
_REMEDY: Final = "Save the picture again as PNG."


@dataclass(frozen=True)
class PngHeader:
    """Size in pixels and how a pixel is stored."""

    width: int
    height: int
    bit_depth: int
    colour_type: int


def minimal_png(data: bytes, *, max_pixels: int) -> tuple[PngHeader, bytes]:
    """The header, and the file reduced to the chunks that make its pixels.

    Args:
        data: The whole file.
        max_pixels: Most pixels, width times height.

    Raises:
        MalformedBody: Not a PNG, cut short, or with a wrong checksum.
        PictureTooLarge: More pixels than that.
        InvalidValue: An animation.
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise PictureTooLarge(
            "body",
            f"at most {max_pixels} pixels",
            f"{header.width} × {header.height}",
            f"Scale the picture down before sending it, to {math.isqrt(max_pixels)} × "
            f"{math.isqrt(max_pixels)} or less.",
        )
    kept = [SIGNATURE]
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        kind, end = _checked_chunk(data, position)
        if kind == b"acTL":
            raise InvalidValue("body", "a still picture", "an animated PNG", "Send one frame of it.")
        if kind in _KEPT:
            kept.append(data[position:end])
        if kind == b"IEND":
            _check_palette(header, kept)
            return header, b"".join(kept)
        position = end
    raise MalformedBody("body", f"a PNG of at most {_MAX_CHUNKS} chunks", "more", _REMEDY)


def read_header(data: bytes) -> PngHeader:
    """Signature and IHDR, the first 33 bytes, and nothing else.

    Raises:
        MalformedBody: They are not those of a PNG.
    """
    if not data.startswith(SIGNATURE):
        raise MalformedBody(
            "body", "a PNG", f"{len(data)} bytes that do not begin like one", "Send a PNG file."
        )
    kind, end = _checked_chunk(data, len(SIGNATURE))
    if kind != b"IHDR" or end != 33:
        raise MalformedBody("body", "a PNG that begins with its header", "another chunk first", _REMEDY)
    width, height, bit_depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    if not 1 <= width < 2**31 or not 1 <= height < 2**31:
        raise MalformedBody("body", "a PNG of at least one pixel", shape_text((width, height)), _REMEDY)
    return PngHeader(width, height, bit_depth, colour_type)


def _check_palette(header: PngHeader, chunks: list[bytes]) -> None:
    # Pillow would make one up, of greys.
    if header.colour_type == _INDEXED and not any(chunk[4:8] == b"PLTE" for chunk in chunks):
        raise MalformedBody("body", "a palette before the pixels that point into it", "none", _REMEDY)


def _checked_chunk(data: bytes, position: int) -> tuple[bytes, int]:
    """Type of the chunk at `position`, and where it ends, once it is known to be whole and unharmed."""
    body = position + 8
    if body > len(data):
        raise MalformedBody("body", "a whole PNG", f"its first {len(data)} bytes", "Send the file whole.")
    length, kind = struct.unpack_from(">I4s", data, position)
    end = body + length + 4
    if end > len(data):
        raise MalformedBody(
            "body",
            f"{end} bytes or more, as chunk at byte {position} states",
            f"{len(data)} bytes",
            "Send the file whole.",
        )
    view = memoryview(data)
    if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
        raise MalformedBody(
            "body", f"a sound chunk at byte {position}", "one whose checksum is wrong", _REMEDY
        )
    return kind, end
