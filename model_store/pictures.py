"""From the samples of an image file to one image of a model: the preprocessing of the manifest.

Knows NumPy, the steps and their order. Knows nothing of file formats, models or HTTP. Training and serving
both use this module, so that the same file yields the same pixels in both. `SPEC.md` (section 13) states the
same in MUST.

Sums of whole numbers are exact in float64, and resampled values are far from the points where rounding to
levels could differ between processors.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import Preprocessing

#: ITU-R BT.601 luma, in thousandths.
_LUMA: Final = (299, 587, 114)
_ORIENTATION_TAG: Final = 0x0112
_UNSIGNED_SHORT: Final = 3
#: Orientations of EXIF in which the upright image's width is the stored height.
_ON_THEIR_SIDE: Final = frozenset({5, 6, 7, 8})
#: Number of samples in float64 at a time during scaling: a quarter of a megabyte.
_CHUNK_SAMPLES: Final = 32_768
_CHUNK_ROWS: Final = 256
#: In levels. A value between two levels is rounded up on every processor.
_NUDGE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Picture:
    """One still image, decoded, in the orientation of its file."""

    samples: NDArray[np.integer[Any]]
    """Whole numbers (H, W, bands) from 0 to `most`; bands are grey or RGB, with an optional alpha last."""
    most: int
    """The sample that means 1."""
    orientation: int = 1
    """By EXIF, 1 to 8; 1 is upright."""
    transparent: tuple[int, ...] | None = None
    """The one transparent grey level or RGB colour; only without an alpha band."""


def exif_orientation(exif: bytes) -> int:
    """The orientation in the first directory of an EXIF block, 1 without one.

    Args:
        exif: The block, from its byte order mark on, or with the `Exif` prefix of JPEG. It is untrusted: an
            unreadable block counts as empty.

    Source:
        TIFF 6.0, section 2 (header, directory, entries); CIPA DC-008, table 4 (tag 274).
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return 1
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return 1
    (entries,) = struct.unpack_from(f"{order}H", exif, start)
    for place in range(start + 2, min(start + 2 + 12 * entries, len(exif) - 11), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, place)
        if tag == _ORIENTATION_TAG:
            return value if (kind, count) == (_UNSIGNED_SHORT, 1) and 1 <= value <= 8 else 1
    return 1


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) of the upright image."""
    return (height, width) if orientation in _ON_THEIR_SIDE else (width, height)


def prepared_levels(picture: Picture, shape: Sequence[int], how: Preprocessing) -> NDArray[np.uint8]:
    """One image of a model in levels 0 to 255, as training stores it.

    Args:
        picture: The unpacked file.
        shape: (C, H, W) of the result, C 1 or 3; the image is scaled to H × W.
        how: The manifest's preprocessing.

    Returns:
        uint8, shape (C, H, W).
    """
    values, most = _prepared(picture, shape, how, invert=False)
    return _to_shape(_levels(values, most), shape)


def prepared_image(
    picture: Picture, shape: Sequence[int], how: Preprocessing, *, invert: bool = False
) -> NDArray[np.float32]:
    """One image of a model in [0, 1], as an encoder requires it.

    Args:
        picture: The unpacked file.
        shape: (C, H, W) of the result, C 1 or 3; the image is scaled to H × W.
        how: The manifest's preprocessing.
        invert: Dark on light becomes light on dark, before the ground is applied: v → 1 - v.

    Returns:
        float32, shape (C, H, W), contiguous.
    """
    values, most = _prepared(picture, shape, how, invert=invert)
    if how.levels is not None and not (values.dtype == np.uint8 and most == 255):
        values, most = _levels(values, most), 255
    if values.dtype == np.float64:
        unit = np.clip(values / most, 0.0, 1.0).astype(np.float32)
    else:
        unit = values.astype(np.float32) / np.float32(most)
    return _to_shape(unit, shape)


def _prepared(
    picture: Picture, shape: Sequence[int], how: Preprocessing, *, invert: bool
) -> tuple[NDArray[Any], int]:
    """Values (H, W, 1 or 3) and the value that means 1: orientation, inversion, ground, scaling, grey."""
    channels, height, width = shape
    samples, most = _upright(picture.samples, picture.orientation), picture.most
    bands = samples.shape[2]
    coloured = bands >= 3
    values, alpha = (samples[:, :, :-1], samples[:, :, -1:]) if bands in (2, 4) else (samples, None)
    if alpha is None and picture.transparent is not None:
        shown = (values != np.array(picture.transparent)).any(axis=2, keepdims=True)
        alpha = shown.astype(values.dtype) * values.dtype.type(most)
    if invert:
        values = values.dtype.type(most) - values
    if alpha is not None:
        values = _on_ground(values, alpha, most, how)
        most = most * most
    if values.shape[:2] != (height, width):
        values = _scaled(values, width=width, height=height, crop=how.fit == "crop")
    if channels == 1 and coloured:
        values = (values @ np.array(_LUMA, np.float64))[:, :, np.newaxis]
        most = most * sum(_LUMA)
    return values, most


def _upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The rows and columns in the upright orientation (CIPA DC-008, table 4, tag 274)."""
    if orientation in _ON_THEIR_SIDE:
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def _on_ground(
    values: NDArray[Any], alpha: NDArray[Any], most: int, how: Preprocessing
) -> NDArray[np.integer[Any]]:
    """Whole numbers from 0 to most²: the opaque image, the ground below it, and their mixtures."""
    # 255² fits into 16 bits, 65535² into 32.
    wide = np.dtype(np.uint16 if most <= 255 else np.uint32)
    share = alpha.astype(wide)
    over: NDArray[np.integer[Any]] = values.astype(wide) * share
    if how.ground == "white":
        over += (wide.type(most) - share) * wide.type(most)
    return over


def _scaled(values: NDArray[Any], *, width: int, height: int, crop: bool) -> NDArray[Any]:
    """The whole image, or its largest middle part with the target's proportions, at another size."""
    rows, columns = values.shape[:2]
    top = left = 0.0
    tall, wide = float(rows), float(columns)
    if crop and columns * height > rows * width:
        wide = rows * width / height
        left = (columns - wide) / 2
    elif crop:
        tall = columns * height / width
        top = (rows - tall) / 2
    steps = [(top, tall, height), (left, wide, width)]
    # The smaller array in between: a line of 65,536 pixels would need gigabytes otherwise.
    axes = (0, 1) if height * columns <= rows * width else (1, 0)
    for axis in axes:
        start, length, size = steps[axis]
        turned = values if axis == 0 else values.transpose(1, 0, 2)
        scaled = _along_rows(turned, start=start, length=length, size=size)
        values = scaled if axis == 0 else scaled.transpose(1, 0, 2)
    return values


def _along_rows(values: NDArray[Any], *, start: float, length: float, size: int) -> NDArray[np.float64]:
    """`size` rows from those at `start`: weighted means by a triangle, which is wider for downscaling.

    The triangle averages instead of skipping, and never leaves the range of the samples. Rows outside of the
    scaled part contribute to its edges; rows outside of the image do not.
    """
    rows, *rest = values.shape
    across = math.prod(rest)
    step = length / size
    reach = max(step, 1.0)
    middles = start + (np.arange(size) + 0.5) * step
    firsts = np.maximum(0, (middles - reach + 0.5).astype(np.int64))
    lasts = np.minimum(rows, (middles + reach + 0.5).astype(np.int64))
    sums = np.zeros((size, across))
    totals = np.zeros((size, 1))
    at_once = min(_CHUNK_ROWS, max(1, _CHUNK_SAMPLES // across))
    for begin in range(int(firsts[0]), int(lasts[-1]), at_once):
        end = min(begin + at_once, int(lasts[-1]))
        touched = slice(int(np.searchsorted(lasts, begin, "right")), int(np.searchsorted(firsts, end)))
        places = np.arange(begin, end)
        weights = 1.0 - np.abs((places + 0.5 - middles[touched, np.newaxis]) / reach)
        within = (places >= firsts[touched, np.newaxis]) & (places < lasts[touched, np.newaxis])
        weights = np.where(within, np.maximum(0.0, weights), 0.0)
        sums[touched] += weights @ values[begin:end].astype(np.float64).reshape(end - begin, across)
        totals[touched] += weights.sum(axis=1, keepdims=True)
    return (sums / totals).reshape(size, *rest)


def _levels(values: NDArray[Any], most: int) -> NDArray[np.uint8]:
    """0 to 255, rounded to the nearest level, and up in the middle."""
    if values.dtype == np.uint8 and most == 255:
        return values
    nearest = np.floor(values * (255.0 / most) + (0.5 + _NUDGE))
    return np.clip(nearest, 0.0, 255.0).astype(np.uint8)


def _to_shape(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """(H, W, 1 or 3) to (C, H, W); grey becomes colour by repetition."""
    return np.ascontiguousarray(np.broadcast_to(values.transpose(2, 0, 1), tuple(shape)))
