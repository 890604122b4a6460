"""Values that fit: pixels in [0, 1], latents within float32; the first misfit of each row is named."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import path
from service.codecs.errors import MAX_DEFECTS, Defect, invalid

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def unit_interval(pixels: NDArray[np.floating[Any]], *, where: str) -> NDArray[np.float32]:
    """Pixels as C-contiguous float32, all of them in [0, 1].

    Raises:
        InvalidValue: Names one pixel of each image at fault, at most ten.
    """
    return _within(
        pixels,
        low=0.0,
        high=1.0,
        where=where,
        expected="a pixel in [0, 1]",
        remedy="Scale pixels to [0, 1]; divide 8-bit ones by 255.",
    )


def finite_float32(values: NDArray[np.floating[Any]], *, where: str) -> NDArray[np.float32]:
    """Numbers as C-contiguous float32, none of them NaN, infinite or too large to stay finite.

    Raises:
        InvalidValue: Names one number of each row at fault, at most ten.
    """
    return _within(
        values,
        low=-_LARGEST_FLOAT32,
        high=_LARGEST_FLOAT32,
        where=where,
        expected="a finite 32-bit float",
        remedy="Send finite numbers.",
    )


def _within(
    values: NDArray[np.floating[Any]], *, low: float, high: float, where: str, expected: str, remedy: str
) -> NDArray[np.float32]:
    # NaN fails both comparisons. float16 compares as float64, or its own range would overflow the bounds.
    smallest, largest = float(values.min()), float(values.max())
    if smallest >= low and largest <= high:
        return np.ascontiguousarray(values, dtype=np.float32)
    rows = values.reshape(len(values), -1).astype(np.float64)
    fits = (rows >= low) & (rows <= high)
    defects = []
    for row in np.flatnonzero(~fits.all(axis=1))[:MAX_DEFECTS]:
        column = int(np.argmin(fits[row]))
        index = (int(row), *(int(i) for i in np.unravel_index(column, values.shape[1:])))
        defects.append(Defect(where + path(index), expected, f"{float(rows[row, column]):g}", remedy))
    raise invalid(defects)
