"""Images as braille characters, for terminals.

Knows pixels and Unicode. Knows nothing of models or HTTP. One cell shows 2 × 4 dots, so 28 × 28 pixels are
14 × 7 cells; larger images are averaged down to fit. Images with a side of more than 64 pixels share the
width of a terminal.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_CELLS_WIDE: Final = 14
MAX_CELLS_HIGH: Final = 7
#: Longest side of an image that is averaged down to these; 14 × 7 cells of a larger one show nothing.
_SMALL_SIDE: Final = 64
#: Columns of a terminal.
_TERMINAL: Final = 80
_DOTS_WIDE: Final = 2
_DOTS_HIGH: Final = 4
_FIRST_BRAILLE: Final = 0x2800
#: Bit of each dot of a cell, by (row, column) (Unicode Standard, Braille Patterns).
_BITS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint32)
_GAP: Final = "  "
#: Below ½: the soft edges of a stroke join parts that a higher threshold separates (seen on MNIST at 0.3,
#: 0.4, 0.5).
_STROKE_THRESHOLD: Final = 0.4
#: Digits have about 1 pixel in 10 between dark and light; images with shades have a majority.
_MOST_BETWEEN_IN_STROKES: Final = 0.3
#: Bayer 1973, 4 × 4: sixteen thresholds, spread so that neighbours differ.
_BAYER: Final = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) / 16.0
_LUMA: Final = (0.299, 0.587, 0.114)


def braille(images: NDArray[np.float32], *, columns: int = 5) -> str:
    """Images side by side, `columns` per row, with the rows below one another.

    Args:
        images: float32 (N, C, H, W) in [0, 1]; C other than 1 is averaged, 3 by luma.
        columns: Images in one row; 5 of 14 cells fit a terminal of 80. Fewer large images are drawn larger.

    Returns:
        Lines joined by newlines, none at the end; images of a row are two spaces apart, rows an empty line.
    """
    columns = max(1, columns)
    wide, high = _room(images.shape, columns)
    blocks = [_cells(image, wide, high) for image in images]
    rows = []
    for start in range(0, len(blocks), columns):
        in_row = blocks[start : start + columns]
        rows.append("\n".join(_GAP.join(line) for line in zip(*in_row, strict=True)))
    return "\n\n".join(rows)


def _room(shape: tuple[int, ...], columns: int) -> tuple[int, int]:
    """Most cells of one image, wide and high."""
    in_row = min(columns, shape[0])
    wide = (_TERMINAL - len(_GAP) * (in_row - 1)) // in_row
    if max(shape[2:]) <= _SMALL_SIDE or wide <= MAX_CELLS_WIDE:
        return MAX_CELLS_WIDE, MAX_CELLS_HIGH
    return wide, wide // 2


def _cells(image: NDArray[np.float32], wide: int, high: int) -> list[str]:
    """The lines of one image, in at most so many cells."""
    dots = _dots(_fitted(_grey(image), wide, high))
    height, width = dots.shape
    padded = np.zeros(
        (-(-height // _DOTS_HIGH) * _DOTS_HIGH, -(-width // _DOTS_WIDE) * _DOTS_WIDE), np.uint32
    )
    padded[:height, :width] = dots
    cells = padded.reshape(
        padded.shape[0] // _DOTS_HIGH, _DOTS_HIGH, padded.shape[1] // _DOTS_WIDE, _DOTS_WIDE
    )
    codes = _FIRST_BRAILLE + (cells * _BITS[np.newaxis, :, np.newaxis, :]).sum(axis=(1, 3))
    return ["".join(map(chr, row)) for row in codes.tolist()]


def _grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = _LUMA if image.shape[0] == 3 else (1.0 / image.shape[0],) * image.shape[0]
    return np.tensordot(np.array(weights, np.float32), image, axes=1)


def _fitted(plane: NDArray[np.float32], wide: int, high: int) -> NDArray[np.float32]:
    """Averaged down in its proportions until it fits; small images are unchanged."""
    height, width = plane.shape
    shrink = max(width / (wide * _DOTS_WIDE), height / (high * _DOTS_HIGH))
    if shrink <= 1.0:
        return plane
    size = (max(1, int(width / shrink + 1e-6)), max(1, int(height / shrink + 1e-6)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BOX))


def _dots(plane: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Strokes by one threshold, shades by ordered dithering.

    Dithering would fray strokes, and a threshold would remove shades.
    """
    between = (plane > 0.2) & (plane < 0.8)
    if between.mean() <= _MOST_BETWEEN_IN_STROKES:
        return plane > _STROKE_THRESHOLD
    height, width = plane.shape
    repeats = (-(-height // len(_BAYER)), -(-width // len(_BAYER)))
    return plane > np.tile(_BAYER, repeats)[:height, :width]
