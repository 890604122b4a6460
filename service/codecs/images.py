"""From PNG to its samples, and from images of a model to one PNG.

Knows Pillow and pixels. Knows nothing of models or HTTP; `service.api.request_images` turns samples into an
image of a model. Images are float32 (N, C, H, W) in [0, 1].
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.codecs.errors import InvalidValue, MalformedBody, PictureTooLarge
from service.codecs.png_chunks import MinimalPng
from service.codecs.png_depth import byte_planes
from service.codecs.png_writer import png_file

#: Maximum number of pixels of a PNG to read: 256 × 256, at least nine times the size of a model's images
#: here.
MAX_PIXELS_IN: Final = 65_536
#: Maximum number of pixels of a PNG to draw: 4096 × 4096.
MAX_PIXELS_OUT: Final = 16_777_216
#: Background pixels between the images of a contact sheet, before scaling.
PADDING_PIXELS: Final = 1
#: Pillow keeps 8 of 16 bits, so files of this depth are read as two of 8.
_DEEPEST_BITS: Final = 16


@dataclass(frozen=True, slots=True)
class PngSamples:
    """The pixels of a PNG as stored in the file."""

    samples: NDArray[np.integer[Any]]
    """Whole numbers (H, W, bands) from 0 to `most`; bands are grey or RGB, with an optional alpha last."""
    most: int
    """The sample that means 1."""
    transparent: tuple[int, ...] | None
    """The one transparent grey level or RGB colour; only without an alpha band."""


def read_samples(png: MinimalPng) -> PngSamples:
    """Decode a PNG of any colour type and depth whose chunks are sound.

    Raises:
        MalformedBody: Its pixels are unreadable.
    """
    samples, most = _samples(png)
    if png.transparent is None or samples.shape[2] in (2, 4):
        return PngSamples(samples, most, None)
    factor = most // ((1 << png.header.bit_depth) - 1)
    return PngSamples(samples, most, tuple(sample * factor for sample in png.transparent))


def encode_png(
    images: NDArray[np.float32],
    *,
    scale: int = 1,
    columns: int | None = None,
    max_pixels: int = MAX_PIXELS_OUT,
) -> bytes:
    """One image itself, or several as a contact sheet, row by row.

    Args:
        images: float32 (N, C, H, W) in [0, 1], N at least 1, C 1 or 3.
        scale: Each pixel becomes a square of scale × scale.
        columns: Images in a row of the sheet; None makes the sheet as square as possible.
        max_pixels: Maximum number of drawn pixels.

    Returns:
        An 8-bit grey or RGB PNG. Equal images yield equal bytes.

    Raises:
        InvalidValue: C other than 1 or 3, or a scale or number of columns below 1.
        PictureTooLarge: More than `max_pixels`.
    """
    sheet_of = plan_png(images.shape, scale=scale, columns=columns, max_pixels=max_pixels)
    _, channels, height, width = images.shape
    sheet = np.zeros((sheet_of.height, sheet_of.width, channels), np.uint8)
    gap, columns = sheet_of.gap, sheet_of.columns
    for index, image in enumerate(to_uint8(images)):
        top = gap + (index // columns) * (height + gap)
        left = gap + (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    if scale > 1:
        sheet = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return png_file(sheet)


@dataclass(frozen=True, slots=True)
class Sheet:
    """The layout of images in a PNG, in pixels before scaling."""

    height: int
    width: int
    columns: int
    gap: int


def plan_png(
    shape: Sequence[int],
    *,
    scale: int = 1,
    columns: int | None = None,
    max_pixels: int = MAX_PIXELS_OUT,
) -> Sheet:
    """The layout of `encode_png` for images of (N, C, H, W), without drawing them.

    Raises:
        InvalidValue: C other than 1 or 3, or a scale or number of columns below 1.
        PictureTooLarge: More than `max_pixels`.
    """
    count, channels, height, width = shape
    if channels not in (1, 3):
        raise InvalidValue(
            "images",
            "1 or 3 channels, because a PNG has no other number",
            str(channels),
            "Request .npy or JSON instead.",
        )
    columns = math.ceil(math.sqrt(count)) if columns is None else min(columns, count)
    if scale < 1 or columns < 1:
        raise InvalidValue(
            "scale" if scale < 1 else "columns", "at least 1", str(min(scale, columns)), "Leave it out."
        )
    rows = math.ceil(count / columns)
    gap = PADDING_PIXELS if count > 1 else 0
    sheet_height = rows * (height + gap) + gap
    sheet_width = columns * (width + gap) + gap
    if sheet_height * sheet_width * scale * scale > max_pixels:
        raise PictureTooLarge(
            "scale",
            f"an image of at most {max_pixels} pixels",
            f"{sheet_width * scale} × {sheet_height * scale}",
            "Request fewer images or a smaller scale.",
        )
    return Sheet(sheet_height, sheet_width, columns, gap)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] to 0 … 255, rounded to the nearest."""
    levels: NDArray[np.uint8] = np.rint(np.clip(images, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    return levels


def _samples(png: MinimalPng) -> tuple[NDArray[np.integer[Any]], int]:
    """Whole numbers (H, W, bands), and the number that means 1; bands are grey or RGB and any alpha."""
    if png.header.bit_depth == _DEEPEST_BITS:
        high, low = (_pixels(_open(plane)) for plane in byte_planes(png))
        return high.astype(np.uint16) << 8 | low, 65535
    picture = _open(png.file)
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    return _pixels(picture), 255


def _pixels(picture: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(picture)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _open(still: bytes) -> Image.Image:
    """Decode an image whose size is harmless; every exception of Pillow becomes one error."""
    try:
        picture = Image.open(io.BytesIO(still), formats=["PNG"])
        picture.load()
    except Exception as error:
        # OSError, ValueError, SyntaxError, UnidentifiedImageError, DecompressionBombError, struct.error,
        # zlib.error …
        raise MalformedBody(
            "body", "a PNG with readable pixels", type(error).__name__, "Save the image again as PNG."
        ) from error
    return picture
