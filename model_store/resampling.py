"""Samples at another size: means weighted by a triangle, which is wider for downscaling.

Knows NumPy and axes. Knows nothing of what the samples mean. `SPEC.md` (section 13, step 4) states the
weights. Sums of whole numbers are exact in float64, however many rows are read at a time.
"""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

#: Number of samples in float64 at a time: a quarter of a megabyte.
_CHUNK_SAMPLES: Final = 32_768
_CHUNK_ROWS: Final = 256


class Rows(Protocol):
    """An array (H, W, bands), or a computation of one, of which some rows are needed at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, bands)."""
        ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Some rows."""
        ...

    def transpose(self, *axes: int) -> Rows:
        """The same with its axes in another order."""
        ...


def scaled(values: Rows, *, width: int, height: int, crop: bool = False) -> NDArray[np.float64]:
    """The whole image, or its largest middle part with the target's proportions, at another size.

    Args:
        values: (H, W, bands).
        width: Width of the result.
        height: Height of the result.
        crop: Keep the proportions: scale the middle part.

    Returns:
        float64, shape (height, width, bands), within the range of the values.
    """
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
    done: Any = values
    for axis in axes:
        start, length, size = steps[axis]
        turned = done if axis == 0 else done.transpose(1, 0, 2)
        along = _along_rows(turned, start=start, length=length, size=size)
        done = along if axis == 0 else along.transpose(1, 0, 2)
    result: NDArray[np.float64] = done
    return result


def _along_rows(values: Rows, *, start: float, length: float, size: int) -> NDArray[np.float64]:
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
