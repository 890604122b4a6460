"""Range checks: pixels in [0, 1], latents within float32; an error names the first bad value of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import path, told_apart
from service.codecs.errors import MAX_DEFECTS, Defect, invalid

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
#: For each type of native numbers, the unsigned integer of its bits, and the bits of 1.
_BITS = {
    np.dtype(kind): (np.dtype(bits), int(np.ones(1, kind).view(bits)[0]))
    for kind, bits in ((np.float16, np.uint16), (np.float32, np.uint32), (np.float64, np.uint64))
}


def unit_interval(pixels: NDArray[np.floating[Any]], *, where: str) -> NDArray[np.float32]:
    """Pixels as C-contiguous float32, all of them in [0, 1].

    Raises:
        InvalidValue: Names one bad pixel of each image, at most ten.
    """
    if _is_plainly_in_unit_interval(pixels):
        return np.ascontiguousarray(pixels, dtype=np.float32)
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
        InvalidValue: Names one bad number of each row, at most ten.
    """
    return _within(
        values,
        low=-_LARGEST_FLOAT32,
        high=_LARGEST_FLOAT32,
        where=where,
        expected="a finite 32-bit float",
        remedy="Send finite numbers.",
    )


def _is_plainly_in_unit_interval(values: NDArray[np.floating[Any]]) -> bool:
    """Whether every value is in [0, 1], in one pass over their bits; False for -0.0, although it is.

    Bits of IEEE 754 numbers without a sign have the order of the numbers, NaN and infinity last, and a sign
    makes them larger than any: 50,000 float32 take 4 µs instead of 25.
    """
    bits, one = _BITS.get(values.dtype, (None, 0))
    return bits is not None and int(np.maximum.reduce(values.view(bits), axis=None)) <= one


def _within(
    values: NDArray[np.floating[Any]], *, low: float, high: float, where: str, expected: str, remedy: str
) -> NDArray[np.float32]:
    # NaN fails both comparisons. float16 is compared as float64, otherwise its own range would overflow the
    # bounds.
    smallest, largest = float(values.min()), float(values.max())
    if smallest >= low and largest <= high:
        return np.ascontiguousarray(values, dtype=np.float32)
    rows = values.reshape(len(values), -1).astype(np.float64)
    fits = (rows >= low) & (rows <= high)
    defects = []
    for row in np.flatnonzero(~fits.all(axis=1))[:MAX_DEFECTS]:
        column = int(np.argmin(fits[row]))
        index = (int(row), *(int(i) for i in np.unravel_index(column, values.shape[1:])))
        defects.append(
            Defect(where + path(index), expected, told_apart(float(rows[row, column]), low, high), remedy)
        )
    raise invalid(defects)
