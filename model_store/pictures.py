"""From the samples of an image file to one image of a model: the preprocessing of the manifest.

Knows NumPy, the steps and their order. Knows nothing of file formats, models or HTTP. Training and serving
both use this module, so that the same file yields the same pixels in both. `SPEC.md` (section 13) states the
same in MUST. A client may choose another way to the size of the model, which training does not have.

Sums of whole numbers are exact in float64, and resampled values are far from the points where rounding to
levels could differ between processors.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_store.drawing import LONGEST_SIDE, contained, is_light_on_dark, like_mnist
from model_store.image_spec import Preprocessing
from model_store.resampling import scaled

#: How a picture of another size comes to the size of the model: all of it on a ground; its middle, as the
#: manifest's `crop`; each axis separately; its figure, boxed and centred as in MNIST.
Fit = Literal["contain", "cover", "stretch", "mnist"]

#: ITU-R BT.601 luma, in thousandths.
_LUMA: Final = (299, 587, 114)
_ORIENTATION_TAG: Final = 0x0112
_UNSIGNED_SHORT: Final = 3
#: Orientations of EXIF in which the upright image's width is the stored height.
_ON_THEIR_SIDE: Final = frozenset({5, 6, 7, 8})
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


class Treatment(NamedTuple):
    """What was done to a picture."""

    size: tuple[int, int]
    """(width, height) of the upright file, in pixels."""
    orientation: int
    """Of the file, by EXIF; 1 is upright."""
    fit: Fit | None
    """How it was brought to H × W; None: it had that size."""
    is_inverted: bool
    """Whether v became 1 - v."""
    looks_inverted: bool
    """Whether its ground is now on the other side than that of the preprocessing."""
    decoded: tuple[int, int] | None = None
    """(width, height) of the pixels that were decoded, if not all of the file's were."""


class Prepared(NamedTuple):
    """One image of a model, and what was done to the file."""

    image: NDArray[np.float32]
    """(C, H, W) in [0, 1], contiguous."""
    treatment: Treatment


def prepared_levels(picture: Picture, shape: Sequence[int], how: Preprocessing) -> NDArray[np.uint8]:
    """One image of a model in levels 0 to 255, as training stores it.

    Args:
        picture: The unpacked file.
        shape: (C, H, W) of the result, C 1 or 3; the image is scaled to H × W.
        how: The manifest's preprocessing.

    Returns:
        uint8, shape (C, H, W).
    """
    values, most = _prepared(_Composite(picture, how), shape, _fit_of(how), how)
    return _to_shape(_levels(values, most), shape)


def prepared_image(
    picture: Picture,
    shape: Sequence[int],
    how: Preprocessing,
    *,
    fit: Fit | None = None,
    invert: bool | None = False,
) -> Prepared:
    """One image of a model in [0, 1], as an encoder requires it.

    Args:
        picture: The unpacked file.
        shape: (C, H, W) of the result, C 1 or 3; the image is scaled to H × W.
        how: The manifest's preprocessing.
        fit: Another way to H × W than that of the manifest.
        invert: Dark on light becomes light on dark, before the ground is applied: v → 1 - v. None: only if
            the picture's ground is not that of the manifest.

    Raises:
        NoFigure: `mnist` of a picture of one level.
    """
    fit = fit or _fit_of(how)
    composite = _Composite(picture, how)
    rows, columns, _ = composite.shape
    is_other_way_round = composite.is_light_on_dark() != (how.ground == "black")
    composite.is_inverted = is_other_way_round if invert is None else invert
    values, most = _prepared(composite, shape, fit, how)
    if how.levels is not None and not (values.dtype == np.uint8 and most == 255):
        values, most = _levels(values, most), 255
    if values.dtype == np.float64:
        unit = np.clip(values / most, 0.0, 1.0).astype(np.float32)
    else:
        unit = values.astype(np.float32) / np.float32(most)
    treatment = Treatment(
        size=(columns, rows),
        orientation=picture.orientation,
        fit=None if (rows, columns) == (shape[1], shape[2]) and fit != "mnist" else fit,
        is_inverted=composite.is_inverted,
        looks_inverted=is_other_way_round != composite.is_inverted,
    )
    return Prepared(_to_shape(unit, shape), treatment)


def _fit_of(how: Preprocessing) -> Fit:
    return "cover" if how.fit == "crop" else "stretch"


class _Composite:
    """The upright picture, inverted or not, on its ground: whole numbers (H, W, 1 or 3), row by row.

    A picture of four megapixels needs hundreds of megabytes if each step keeps all of its pixels.
    """

    def __init__(self, picture: Picture, how: Preprocessing) -> None:
        samples = _upright(picture.samples, picture.orientation)
        has_alpha = samples.shape[2] in (2, 4)
        self._values = samples[:, :, :-1] if has_alpha else samples
        self._alpha = samples[:, :, -1:] if has_alpha else None
        self._key = None if has_alpha else picture.transparent
        self._how = how
        self._most = picture.most
        self.is_inverted = False
        self.shape: tuple[int, ...] = self._values.shape
        self.is_coloured = self._values.shape[2] == 3
        self.most = picture.most
        """The value that means 1."""
        if has_alpha or self._key is not None:
            self.most = picture.most * picture.most

    def transpose(self, *axes: int) -> _Composite:
        """The same with columns as rows; only (1, 0, 2)."""
        turned = copy(self)
        turned._values = self._values.transpose(*axes)
        turned._alpha = None if self._alpha is None else self._alpha.transpose(*axes)
        turned.shape = turned._values.shape
        return turned

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        values = self._values[rows]
        alpha = self._alpha_of(values) if self._alpha is None else self._alpha[rows]
        if self.is_inverted:
            values = values.dtype.type(self._most) - values
        return values if alpha is None else _on_ground(values, alpha, self._most, self._how)

    def is_light_on_dark(self) -> bool:
        """Whether the file shows something light on a dark ground."""
        alpha = self._alpha_of(self._values) if self._alpha is None else self._alpha
        return is_light_on_dark(self._values, alpha, self._most)

    def _alpha_of(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """Alpha of samples whose transparent colour is stated."""
        if self._key is None:
            return None
        shown = (values != np.array(self._key)).any(axis=2, keepdims=True)
        alpha: NDArray[Any] = shown.astype(values.dtype) * values.dtype.type(self._most)
        return alpha


def _prepared(
    composite: _Composite, shape: Sequence[int], fit: Fit, how: Preprocessing
) -> tuple[NDArray[Any], int]:
    """Values (H, W, 1 or 3) and the value that means 1: inversion, ground, scaling, grey."""
    channels, height, width = shape
    most = composite.most
    if fit == "mnist":
        return _as_mnist(composite, height, width, how), 1
    if composite.shape[:2] == (height, width):
        values: NDArray[Any] = composite[:]
    elif fit == "contain":
        ground = most if how.ground == "white" else 0
        values = contained(composite, height=height, width=width, ground=ground)
    else:
        values = scaled(composite, width=width, height=height, crop=fit == "cover")
    if channels == 1 and composite.is_coloured:
        values = (values @ np.array(_LUMA, np.float64))[:, :, np.newaxis]
        most = most * sum(_LUMA)
    return values, most


def _as_mnist(composite: _Composite, height: int, width: int, how: Preprocessing) -> NDArray[np.float64]:
    """(H, W, 1) in [0, 1]."""
    rows, columns, _ = composite.shape
    share = min(1.0, LONGEST_SIDE / max(rows, columns))
    values = (
        composite[:].astype(np.float64)
        if share == 1.0
        else scaled(composite, height=max(1, round(share * rows)), width=max(1, round(share * columns)))
    )
    luma = np.array(_LUMA, np.float64) / sum(_LUMA) if composite.is_coloured else np.ones(1)
    grey = (values @ luma) / composite.most
    if how.ground == "white":
        return 1.0 - like_mnist(1.0 - grey, height=height, width=width)[:, :, np.newaxis]
    return like_mnist(grey, height=height, width=width)[:, :, np.newaxis]


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


def _levels(values: NDArray[Any], most: int) -> NDArray[np.uint8]:
    """0 to 255, rounded to the nearest level, and up in the middle."""
    if values.dtype == np.uint8 and most == 255:
        return values
    nearest = np.floor(values * (255.0 / most) + (0.5 + _NUDGE))
    return np.clip(nearest, 0.0, 255.0).astype(np.uint8)


def _to_shape(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """(H, W, 1 or 3) to (C, H, W); grey becomes colour by repetition."""
    return np.ascontiguousarray(np.broadcast_to(values.transpose(2, 0, 1), tuple(shape)))
