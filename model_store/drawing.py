"""A drawing or a photograph of one figure to an image like those of MNIST, and which way round its ground is.

Knows grey levels, boxes and centres of mass. Knows nothing of files, models or HTTP.

MNIST was made from black-and-white scans: each digit was scaled to a box of 20 × 20 with its proportions,
smoothing turned it grey, and its centre of mass was put on the pixel (14, 14) of 28 × 28.

Source:
    Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (the section on the file
    formats).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store.resampling import Rows, scaled

#: Side of MNIST's box, as a share of the image.
_BOX_SHARE: Final = 20 / 28
#: Longest side of a picture in which the figure is sought; larger ones are scaled down first.
LONGEST_SIDE: Final = 1_024
#: Least difference between ground and figure, of the whole range.
LEAST_CONTRAST: Final = 0.1
#: A pixel belongs to the box from this share of the figure's own level on.
_IN_THE_BOX: Final = 0.25
#: Levels of the ground vary by this many standard deviations, which a normal distribution rarely exceeds.
_NOISE_DEVIATIONS: Final = 3.0
#: Standard deviations of a normal distribution in one median absolute deviation.
_DEVIATIONS_PER_MAD: Final = 1.4826
#: Percentile of the figure that becomes 1: a few brighter pixels do not darken the others.
_FULL_INK_PERCENTILE: Final = 98.0
#: Width of the border whose majority is the ground, as a share of the shorter side.
_BORDER_SHARE: Final = 0.05
#: Pixels that are enough to know the level of a figure.
_PIXELS_OF_A_LOOK: Final = 65_536


class NoFigure(ValueError):
    """A picture of one level: there is nothing to centre."""


def like_mnist(grey: NDArray[np.float64], *, height: int, width: int) -> NDArray[np.float64]:
    """The figure of a picture, in a box and with its centre of mass in the middle.

    The ground becomes 0 with its noise and its shading, and the figure 1.

    Args:
        grey: (H, W) in [0, 1], light on dark.
        height: Height of the result.
        width: Width of the result.

    Returns:
        float64, shape (height, width), in [0, 1].

    Raises:
        NoFigure: Ground and figure differ by less than `LEAST_CONTRAST`.
    """
    figure = _figure(grey)
    shown = figure > _IN_THE_BOX
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    box = figure[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(1, round(_BOX_SHARE * min(height, width)))
    longer = max(box.shape)
    tall, wide = (max(1, round(side * length / longer)) for length in box.shape)
    small = scaled(box[:, :, np.newaxis], width=wide, height=tall)[:, :, 0]
    image = np.zeros((height, width))
    top, left = _offset(small.sum(axis=1), height), _offset(small.sum(axis=0), width)
    image[top : top + tall, left : left + wide] = np.minimum(small, 1.0)  # a mean may round up
    return image


def contained(values: Rows, *, height: int, width: int, ground: float) -> NDArray[np.float64]:
    """The whole image, as large as fits, in the middle of a ground.

    Args:
        values: (H, W, bands).
        height: Height of the result.
        width: Width of the result.
        ground: Value of the rest.

    Returns:
        float64, shape (height, width, bands).
    """
    rows, columns, bands = values.shape
    share = min(height / rows, width / columns)
    tall, wide = (max(1, round(share * length)) for length in (rows, columns))
    image = np.full((height, width, bands), ground, np.float64)
    top, left = (height - tall) // 2, (width - wide) // 2
    image[top : top + tall, left : left + wide] = scaled(values, width=wide, height=tall)
    return image


def is_light_on_dark(samples: NDArray[Any], alpha: NDArray[Any] | None, most: int) -> bool:
    """Whether a picture shows something light on a dark ground.

    The ground is what most of the border is. A transparent ground has no level; then the figure decides.

    Args:
        samples: (H, W, 1 or 3), from 0 to `most`.
        alpha: (H, W, 1), from 0 to `most`; None: opaque.
        most: The sample that means 1.
    """
    half = most / 2
    if alpha is not None and _share_above(_border(alpha), half) < 0.5:
        step = max(1, int((samples.shape[0] * samples.shape[1] / _PIXELS_OF_A_LOOK) ** 0.5))
        opaque = alpha[::step, ::step, 0].astype(np.float64)
        if not opaque.any():
            return True
        levels = samples[::step, ::step].mean(axis=2)
        return bool((levels * opaque).sum() > half * opaque.sum())
    return _share_above(_border(samples), half) < 0.5


def _figure(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """The levels between ground and figure as 0 to 1; the ground is what the border is."""
    border = _border(grey)
    ground = float(np.median(border))
    noise = _NOISE_DEVIATIONS * _DEVIATIONS_PER_MAD * float(np.median(np.abs(border - ground)))
    differs = grey > ground + max(noise, LEAST_CONTRAST)
    if not differs.any():
        raise NoFigure
    ink = float(np.percentile(grey[differs], _FULL_INK_PERCENTILE))
    begin = min(ground + noise, (ground + ink) / 2)
    return np.clip((grey - begin) / (ink - begin), 0.0, 1.0)


def _offset(masses: NDArray[np.float64], size: int) -> int:
    """Where the figure begins along one axis, so that its centre of mass is in the middle and none is cut."""
    centre = float((masses * np.arange(len(masses))).sum() / masses.sum())
    # Pixel 14 of 28 pixels 0 to 27: so it is in MNIST (test_digits_of_mnist_stay_where_they_are).
    return min(max(0, round(size / 2 - centre)), size - len(masses))


def _border(samples: NDArray[Any]) -> NDArray[Any]:
    """The samples of the four sides, a few pixels wide."""
    wide = int(_BORDER_SHARE * min(samples.shape[:2])) or 1
    sides = samples[:wide], samples[-wide:], samples[:, :wide], samples[:, -wide:]
    return np.concatenate([side.ravel() for side in sides])


def _share_above(samples: NDArray[Any], level: float) -> float:
    """The share of the samples that are higher."""
    return np.count_nonzero(samples > level) / samples.size
