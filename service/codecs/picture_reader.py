"""From a PNG, JPEG or WebP to its samples.

Knows Pillow and pixels. Knows nothing of models or HTTP; `service.api.request_images` turns samples into an
image of a model. The header is read first, by code of this package: no decoder sees a picture of too many
pixels, an animation, or metadata. Pillow has one format for each file, and no other is ever tried.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.codecs.errors import MalformedBody
from service.codecs.jpeg_segments import BEGINNING as JPEG_BEGINNING
from service.codecs.jpeg_segments import jpeg_size, minimal_jpeg
from service.codecs.png_chunks import SIGNATURE, MinimalPng, minimal_png
from service.codecs.png_depth import byte_planes
from service.codecs.webp_chunks import is_webp, minimal_webp, webp_size

Kind = Literal["PNG", "JPEG", "WebP"]
#: Pillow keeps 8 of 16 bits, so files of this depth are read as two of 8.
_DEEPEST_BITS: Final = 16
#: Beginnings of other formats, each with its name and the bytes before it.
_OTHERS: Final = (
    (b"GIF8", 0, "GIF"),
    (b"BM", 0, "BMP"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"%PDF", 0, "PDF"),
    (b"<svg", 0, "SVG"),
    (b"ftyphei", 4, "HEIC"),
    (b"ftyphev", 4, "HEIC"),
    (b"ftypmif1", 4, "HEIC"),
    (b"ftypavi", 4, "AVIF"),
    (b"\0\0\0\x0cJXL ", 0, "JPEG XL"),
    (b"\xff\x0a", 0, "JPEG XL"),
)
#: Media types of these formats.
_OTHER_TYPES: Final = {
    "image/heic": "HEIC",
    "image/heif": "HEIC",
    "image/avif": "AVIF",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/bmp": "BMP",
    "image/svg+xml": "SVG",
    "image/jxl": "JPEG XL",
    "application/pdf": "PDF",
}
_WITH_AN: Final = ("AVIF", "SVG")
_HOW_TO_CONVERT: Final = {
    "HEIC": "; an iPhone saves JPEG with Settings > Camera > Formats > Most Compatible",
    "GIF": ", one frame of it",
    "PDF": ", one page of it",
}


@dataclass(frozen=True, slots=True)
class Samples:
    """The pixels as stored in the file."""

    samples: NDArray[np.integer[Any]]
    """Whole numbers (H, W, bands) from 0 to `most`; bands are grey or RGB, with an optional alpha last."""
    most: int
    """The sample that means 1."""
    transparent: tuple[int, ...] | None
    """The one transparent grey level or RGB colour; only without an alpha band."""


@dataclass(frozen=True, slots=True)
class StillPicture:
    """A picture with a sound header and a harmless size, not decoded yet."""

    kind: Kind
    width: int
    """In the orientation of the file, in pixels; the samples of a large JPEG are half as wide and high."""
    height: int
    exif: bytes
    """Unread; empty if there is none."""
    read: Callable[[], Samples]
    """Decode it. Raises MalformedBody if its pixels are unreadable."""


def kind_of(data: bytes) -> Kind | None:
    """The format, by the first bytes; None: none that is read."""
    if data.startswith(SIGNATURE):
        return "PNG"
    if data.startswith(JPEG_BEGINNING):
        return "JPEG"
    return "WebP" if is_webp(data) else None


def other_kind(data: bytes) -> str | None:
    """The name of a picture format that is not read, for messages."""
    return next((name for start, at, name in _OTHERS if data[at : at + len(start)] == start), None)


def kind_of_type(media_type: str) -> str | None:
    """The name of a picture format that is not read, by its media type, for messages."""
    return _OTHER_TYPES.get(media_type)


def a_file_of(kind: str) -> str:
    """Such as `a HEIC file`, for messages."""
    return f"{'an' if kind in _WITH_AN else 'a'} {kind} file"


def how_to_convert(kind: str) -> str:
    """The remedy for a picture of a format that is not read."""
    return f"Convert it to JPEG or PNG{_HOW_TO_CONVERT.get(kind, '')}."


def stated_pixels(data: bytes) -> int:
    """Number of pixels by the header alone, unchecked; 0 without a readable one."""
    match kind_of(data):
        case "PNG":
            size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        case "JPEG":
            size = jpeg_size(data) or (0, 0)
        case "WebP":
            size = webp_size(data) or (0, 0)
        case _:
            size = 0, 0
    return size[0] * size[1]


def still_picture(data: bytes, *, max_pixels: int, may_be_halved: bool = False) -> StillPicture:
    """The picture in a file, after its header and its structure were checked.

    Args:
        data: The whole file.
        max_pixels: Maximum number of pixels to decode.
        may_be_halved: Whether a JPEG of up to four times as many is decoded at half its width and height.

    Raises:
        MalformedBody: None of the three formats, or a broken file.
        PictureTooLarge: More pixels than that.
        InvalidValue: An animation.
    """
    match kind_of(data):
        case "JPEG":
            jpeg = minimal_jpeg(data, max_pixels=max_pixels, may_be_halved=may_be_halved)
            is_to_be_halved = jpeg.width * jpeg.height > max_pixels
            read = partial(_eight_bits, jpeg.file, "JPEG", is_to_be_halved=is_to_be_halved)
            return StillPicture("JPEG", jpeg.width, jpeg.height, jpeg.exif, read)
        case "WebP":
            webp = minimal_webp(data, max_pixels=max_pixels)
            read = partial(_eight_bits, webp.file, "WebP")
            return StillPicture("WebP", webp.width, webp.height, webp.exif, read)
        case "PNG":
            png = minimal_png(data, max_pixels=max_pixels)
            header = png.header
            return StillPicture("PNG", header.width, header.height, png.exif, partial(_of_png, png))
    other = other_kind(data)
    raise MalformedBody(
        "body",
        "a PNG, JPEG or WebP",
        a_file_of(other) if other else f"{len(data)} bytes with another beginning",
        how_to_convert(other or ""),
    )


def _of_png(png: MinimalPng) -> Samples:
    """The samples of a PNG of any colour type and depth whose chunks are sound."""
    if png.header.bit_depth == _DEEPEST_BITS:
        samples, most = _sixteen_bits(png), 65535
    else:
        picture = _opened(png.file, "PNG")
        if picture.mode == "P":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode == "1":
            picture = picture.convert("L")
        samples, most = _pixels(picture), 255
    if png.transparent is None or samples.shape[2] in (2, 4):
        return Samples(samples, most, None)
    factor = most // ((1 << png.header.bit_depth) - 1)
    return Samples(samples, most, tuple(sample * factor for sample in png.transparent))


def _sixteen_bits(png: MinimalPng) -> NDArray[np.integer[Any]]:
    """From two files of 8 bits, one after the other: each has half the size of the pixels."""
    # No name holds a file or a plane while the next one is made.
    planes = byte_planes(png)
    samples = _pixels(_opened(next(planes), "PNG")).astype(np.uint16)
    samples <<= 8
    samples |= _pixels(_opened(next(planes), "PNG"))
    return samples


def _eight_bits(file: bytes, kind: Kind, *, is_to_be_halved: bool = False) -> Samples:
    """The samples of a JPEG or WebP: grey, RGB, CMYK, or RGB with alpha."""
    picture = _opened(file, kind, is_to_be_halved=is_to_be_halved)
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return Samples(_pixels(picture), 255, None)


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(picture)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _opened(still: bytes, kind: Kind, *, is_to_be_halved: bool = False) -> Image.Image:
    """Decode an image whose size is harmless; every exception of Pillow becomes one error."""
    try:
        picture = Image.open(io.BytesIO(still), formats=[kind.upper()])
        if is_to_be_halved:
            # Rounded down, because a draft is never smaller than this; its own sides are rounded up.
            picture.draft(None, (max(1, picture.width // 2), max(1, picture.height // 2)))
        picture.load()
    except Exception as error:
        # OSError, ValueError, SyntaxError, UnidentifiedImageError, DecompressionBombError, struct.error,
        # zlib.error …
        raise MalformedBody(
            "body",
            f"a {kind} with readable pixels",
            type(error).__name__,
            f"Save the image again as {kind}.",
        ) from error
    return picture
