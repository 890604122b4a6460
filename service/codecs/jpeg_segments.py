"""The metadata of a JPEG, read before any of it is decoded.

Knows the marker layout (ITU-T T.81, annex B) and the two application segments that decide about colours: JFIF
(T.871) and Adobe (T.872, section 6.5.3). Knows nothing of pixels. The result contains only the segments of
the pixels, so that no profile, thumbnail, comment or second picture is ever parsed. The number of scans is
bounded: each scan of a progressive file costs a pass over all of its pixels, however short it is.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from service.codecs.describe import shape_text
from service.codecs.errors import MalformedBody
from service.codecs.minimal_picture import MinimalPicture
from service.codecs.picture_bounds import refuse_too_many_pixels

BEGINNING: Final = b"\xff\xd8\xff"
#: Pixels of a file for each one that is decoded, if it is decoded at half its width and height. The decoder
#: averages them in the frequency domain; the others are never in memory, and their coefficients only of a
#: progressive file.
PIXELS_IN_ONE: Final = 4
#: Encoders write about ten scans, and at most 24 for four components.
MAX_SCANS: Final = 64
_MAX_SEGMENTS: Final = 1_000
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
#: Baseline, extended sequential and progressive, with Huffman codes.
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
#: Lossless, hierarchical and arithmetic frames: no browser writes or reads them.
_RARE_FRAMES: Final = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
#: Huffman tables, quantisation tables and the restart interval.
_TABLES: Final = frozenset({0xC4, 0xDB, 0xDD})
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
#: Entropy-coded data end at the first marker that is neither a stuffed zero nor a restart. Fill bytes before
#: it are left to the data: a pattern for them would take hours for eight megabytes of nothing else.
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_BITS: Final = 8
_COMPONENTS: Final = (1, 3, 4)
_REMEDY: Final = "Save the image again as JPEG or PNG."


def minimal_jpeg(data: bytes, *, max_pixels: int, may_be_halved: bool = False) -> MinimalPicture:
    """The size, and the file reduced to the segments for its pixels.

    Args:
        data: The whole file. Anything after its end, such as the film of a phone's picture, is left out.
        max_pixels: Maximum number of pixels to decode.
        may_be_halved: Whether the file may have `PIXELS_IN_ONE` times as many.

    Raises:
        MalformedBody: Not a JPEG, cut short, or of a kind that no browser shows.
        PictureTooLarge: More pixels than that.
    """
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    exif = b""
    scans = 0
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker, start = _marker(data, position)
        if marker == _EOI:
            if size is None or not scans:
                raise MalformedBody("body", "a JPEG with pixels", "none", _REMEDY)
            kept.append(b"\xff\xd9")
            return MinimalPicture(*size, b"".join(kept), exif)
        end = _end_of_segment(data, start)
        body = data[start + 2 : end]
        position = end
        if marker in _FRAMES or marker in _RARE_FRAMES:
            if size is not None:
                raise MalformedBody("body", "one JPEG frame", "several", _REMEDY)
            size = _size(marker, body, max_pixels * (PIXELS_IN_ONE if may_be_halved else 1))
        elif marker == _SOS:
            scans += 1
            if size is None or scans > MAX_SCANS:
                got = "one before the size" if size is None else "more"
                raise MalformedBody("body", f"a JPEG of at most {MAX_SCANS} scans", got, _REMEDY)
            following = _NEXT_MARKER.search(data, end)
            position = following.start() if following else len(data)
        elif marker == _APP1 and not exif and not scans and body.startswith(b"Exif\0"):
            exif = body
        if marker in _FRAMES or marker in _TABLES or marker == _SOS or _decides_colours(marker, body):
            kept.append(b"\xff" + data[start - 1 : position])
    raise MalformedBody("body", f"a JPEG of at most {_MAX_SEGMENTS} segments", "more", _REMEDY)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in the frame of a file that may be broken; None without one in its first segments."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        try:
            marker, start = _marker(data, position)
            position = _end_of_segment(data, start)
        except MalformedBody:
            return None
        if marker in _FRAMES and position - start >= 7:
            height, width = struct.unpack_from(">HH", data, start + 3)
            return width, height
        if marker in (_SOS, _EOI):
            return None
    return None


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The marker at `position`, and where its segment begins; 0xFF may be repeated before it."""
    begin = position
    while position < len(data) and data[position] == 0xFF:
        position += 1
    if position >= len(data):
        raise MalformedBody("body", "a whole JPEG", f"its first {len(data)} bytes", "Send the whole file.")
    marker = data[position]
    if position == begin or marker in (0, 1, _SOI) or 0xD0 <= marker <= 0xD7:
        raise MalformedBody("body", f"a JPEG segment at byte {begin}", "something else", _REMEDY)
    return marker, position + 1


def _end_of_segment(data: bytes, start: int) -> int:
    length = int.from_bytes(data[start : start + 2], "big") if start + 2 <= len(data) else 2
    end = start + max(2, length)
    if start + 2 > len(data) or end > len(data):
        raise MalformedBody("body", "a whole JPEG", f"its first {len(data)} bytes", "Send the whole file.")
    return end


def _size(marker: int, body: bytes, max_pixels: int) -> tuple[int, int]:
    """(width, height) of a frame that is safe to decode."""
    if marker in _RARE_FRAMES:
        raise MalformedBody(
            "body", "a baseline or progressive JPEG", f"one of the rare kind SOF{marker - 0xC0}", _REMEDY
        )
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise MalformedBody("body", "a JPEG frame with its components", f"{len(body)} bytes", _REMEDY)
    bits, height, width, components = struct.unpack_from(">BHHB", body)
    if bits != _BITS or components not in _COMPONENTS:
        got = f"{components} of {bits} bits"
        raise MalformedBody("body", "a JPEG of 1, 3 or 4 components of 8 bits", got, _REMEDY)
    if not width or not height:
        raise MalformedBody("body", "a JPEG of at least one pixel", shape_text((width, height)), _REMEDY)
    refuse_too_many_pixels(width, height, max_pixels)
    return width, height


def _decides_colours(marker: int, body: bytes) -> bool:
    return (marker == _APP0 and body.startswith(b"JFIF\0")) or (
        marker == _APP14 and body.startswith(b"Adobe")
    )
