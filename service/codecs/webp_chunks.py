"""The metadata of a WebP, read before any of it is decoded.

Knows the RIFF container (RFC 9649, section 2) and the size in both bitstreams (RFC 6386, section 9.1;
RFC 9649, section 3.4). Knows nothing of pixels. The result contains only the chunks of one still picture, so
that no profile, metadata or frame of an animation is ever parsed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from service.codecs.errors import InvalidValue, MalformedBody
from service.codecs.minimal_picture import MinimalPicture
from service.codecs.picture_bounds import refuse_too_many_pixels

_MAX_CHUNKS: Final = 100
_ANIMATED: Final = 0x02
_WITH_ALPHA: Final = 0x10
_LOSSY, _LOSSLESS, _ALPHA, _EXTENDED = b"VP8 ", b"VP8L", b"ALPH", b"VP8X"
_REMEDY: Final = "Save the image again as WebP or PNG."


def is_webp(data: bytes) -> bool:
    """Whether a file begins as one."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def minimal_webp(data: bytes, *, max_pixels: int) -> MinimalPicture:
    """The size, and the file reduced to the chunks for its pixels.

    Args:
        data: The whole file. Anything after its end is left out.
        max_pixels: Maximum number of pixels, width times height.

    Raises:
        MalformedBody: Not a WebP, or cut short.
        PictureTooLarge: More pixels than that.
        InvalidValue: An animation.
    """
    canvas: tuple[int, int] | None = None
    alpha: bytes | None = None
    pixels: tuple[bytes, bytes] | None = None
    exif = b""
    for kind, body in _chunks(data):
        if kind in (b"ANIM", b"ANMF") or (kind == _EXTENDED and body[:1] and body[0] & _ANIMATED):
            raise InvalidValue("body", "a still picture", "an animated WebP", "Send one frame of it.")
        if kind == _EXTENDED and canvas is None and len(body) == 10:
            canvas = _three_bytes(body, 4) + 1, _three_bytes(body, 7) + 1
            refuse_too_many_pixels(*canvas, max_pixels)
        elif kind == _ALPHA and alpha is None and pixels is None:
            alpha = body
        elif kind in (_LOSSY, _LOSSLESS) and pixels is None:
            pixels = kind, body
        elif kind == b"EXIF" and not exif:
            exif = body
    if pixels is None:
        raise MalformedBody("body", "a WebP with pixels", "none", _REMEDY)
    size = _frame_size(*pixels)
    refuse_too_many_pixels(*size, max_pixels)
    if canvas not in (None, size):
        raise MalformedBody("body", "one size", "a canvas of another size than its picture", _REMEDY)
    return MinimalPicture(*size, _still(size, pixels, alpha), exif)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in the first chunk of a file that may be broken; None without one."""
    kind, body = data[12:16], data[20:30]
    if kind == _EXTENDED and len(body) == 10:
        return _three_bytes(body, 4) + 1, _three_bytes(body, 7) + 1
    try:
        return _frame_size(kind, body) if kind in (_LOSSY, _LOSSLESS) else None
    except MalformedBody:
        return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk."""
    if not is_webp(data):
        raise MalformedBody("body", "a WebP", f"{len(data)} bytes with another beginning", "Send a WebP.")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise MalformedBody("body", f"a WebP of {end} bytes", f"{len(data)} bytes", "Send the whole file.")
    if data[12:16] not in (_LOSSY, _LOSSLESS, _EXTENDED):
        # `webp_size` looks there.
        raise MalformedBody("body", "a WebP that begins with its size", "another chunk first", _REMEDY)
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : min(position + 8 + length, end)]
        if len(body) < length:
            raise MalformedBody("body", f"a whole chunk at byte {position}", "a part of one", _REMEDY)
        yield kind, body
        position += 8 + length + length % 2
    raise MalformedBody("body", f"a WebP of at most {_MAX_CHUNKS} chunks", "more", _REMEDY)


def _frame_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """(width, height) of a bitstream, from its first bytes."""
    if kind == _LOSSY and len(body) >= 10 and not body[0] & 1 and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        size = width & 0x3FFF, height & 0x3FFF
        if all(size):
            return size
    if kind == _LOSSLESS and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise MalformedBody("body", "a WebP picture with its size", "something else", _REMEDY)


def _three_bytes(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 3], "little")


def _still(size: tuple[int, int], pixels: tuple[bytes, bytes], alpha: bytes | None) -> bytes:
    """The file of one picture without metadata."""
    chunks = [pixels]
    if alpha is not None and pixels[0] == _LOSSY:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        chunks = [(_EXTENDED, bytes((_WITH_ALPHA, 0, 0, 0)) + sides), (_ALPHA, alpha), pixels]
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
