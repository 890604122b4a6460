"""From images of a model to one picture: PNG, JPEG or WebP.

Knows sheets, pixels and Pillow's writers. Knows nothing of models or HTTP. Images are float32 (N, C, H, W) in
[0, 1].
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.codecs.errors import InvalidValue, PictureTooLarge
from service.codecs.png_writer import png_file

#: Maximum number of pixels of a picture to draw: 4096 × 4096.
MAX_PIXELS_OUT: Final = 16_777_216
#: Maximum width and height of a WebP, by its format, and here of a JPEG as well.
MAX_SIDE_PIXELS: Final = 16_383
#: Quality of a JPEG: digits have sharp edges, which Pillow's own 75 blurs.
_JPEG_QUALITY: Final = 90
#: Effort of a WebP without losses: 0 is the fastest, and needs the least memory.
_WEBP_EFFORT: Final = 0
#: Background pixels between the images of a contact sheet, before scaling.
PADDING_PIXELS: Final = 1
#: Values that become levels at a time: 12 MB of floats.
_CONVERTED_VALUES: Final = 1_048_576


def encode_png(
    images: NDArray[np.float32],
    *,
    scale: int = 1,
    columns: int | None = None,
    max_pixels: int = MAX_PIXELS_OUT,
) -> bytes:
    """One image itself, or several as a contact sheet, row by row, as PNG.

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
    return png_file(
        _drawn(images, plan_sheet(images.shape, scale=scale, columns=columns, max_pixels=max_pixels), scale)
    )


def encode_lossy(
    images: NDArray[np.float32],
    *,
    kind: Literal["JPEG", "WebP"],
    scale: int = 1,
    columns: int | None = None,
    quality: int | None = None,
    max_pixels: int = MAX_PIXELS_OUT,
) -> bytes:
    """The picture of `encode_png` as JPEG, or as WebP, which has no losses without `quality`.

    Args:
        images: As of `encode_png`.
        kind: The format.
        scale: As of `encode_png`.
        columns: As of `encode_png`.
        quality: 1 to 100; None: 90 for JPEG.
        max_pixels: As of `encode_png`.

    Raises:
        InvalidValue: As `encode_png`.
        PictureTooLarge: More than `max_pixels`, or a side longer than `MAX_SIDE_PIXELS`.
    """
    plan = plan_sheet(
        images.shape, scale=scale, columns=columns, max_pixels=max_pixels, max_side=MAX_SIDE_PIXELS
    )
    sheet = _drawn(images, plan, scale)
    picture = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)
    out = io.BytesIO()
    if kind == "JPEG":
        picture.save(out, "JPEG", quality=quality or _JPEG_QUALITY, subsampling=0)
    elif quality is None:
        picture.save(out, "WEBP", lossless=True, quality=0, method=_WEBP_EFFORT)
    else:
        picture.save(out, "WEBP", quality=quality)
    return out.getvalue()


def _drawn(images: NDArray[np.float32], sheet_of: Sheet, scale: int) -> NDArray[np.uint8]:
    """The pixels (height, width, channels) of a planned sheet."""
    _, channels, height, width = images.shape
    sheet = np.zeros((sheet_of.height, sheet_of.width, channels), np.uint8)
    gap, columns = sheet_of.gap, sheet_of.columns
    for index, image in enumerate(_in_levels(images)):
        top = gap + (index // columns) * (height + gap)
        left = gap + (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else sheet


def _in_levels(images: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """Each image by `to_uint8`, some at a time: it needs three copies of their floats."""
    at_a_time = max(1, _CONVERTED_VALUES // images[0].size)
    for first in range(0, len(images), at_a_time):
        yield from to_uint8(images[first : first + at_a_time])


@dataclass(frozen=True, slots=True)
class Sheet:
    """The layout of images in a picture, in pixels before scaling."""

    height: int
    width: int
    columns: int
    gap: int


def plan_sheet(
    shape: Sequence[int],
    *,
    scale: int = 1,
    columns: int | None = None,
    max_pixels: int = MAX_PIXELS_OUT,
    max_side: int | None = None,
) -> Sheet:
    """The layout of `encode_png` for images of (N, C, H, W), without drawing them.

    Raises:
        InvalidValue: C other than 1 or 3, or a scale or number of columns below 1.
        PictureTooLarge: More than `max_pixels`, or a side longer than `max_side`.
    """
    count, channels, height, width = shape
    if channels not in (1, 3):
        raise InvalidValue(
            "images",
            "1 or 3 channels, because a picture has no other number",
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
    longer = max(sheet_height, sheet_width) * scale
    if max_side is not None and longer > max_side:
        raise PictureTooLarge(
            "scale",
            f"sides of at most {max_side} pixels in this format",
            f"{sheet_width * scale} × {sheet_height * scale}",
            "Request .png, fewer images, or other columns.",
        )
    return Sheet(sheet_height, sheet_width, columns, gap)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] to 0 … 255, rounded to the nearest."""
    levels: NDArray[np.uint8] = np.rint(np.clip(images, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    return levels
