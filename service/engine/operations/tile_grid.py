"""The windows that a large latent is decoded in, and the part of each that the image is made of.

Knows whole numbers. Knows nothing of graphs, arrays or requests. Lengths are latent positions.

    ├────── window ──────┤
    ├── core ───┼─ halo ─┤
                ├─ halo ─┼── core ──┼─ halo ─┤        windows of one size; at a border of the image no halo
                                    ├─ halo ─┼─ core ─┤

A grid follows from the size of the image and from fixed numbers alone, so the same size gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One window along one axis, and its core: positions of the whole latent."""

    start: int
    first: int
    last: int
    """Behind the core's last position."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one axis, from the first position to the last."""

    window: int
    """Length of each window."""
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Windows of one size that cover a latent (c, h, w)."""

    rows: Axis
    columns: Axis
    halo: int

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.rows.spans) * len(self.columns.spans)

    @property
    def area(self) -> int:
        """Positions of one window."""
        return self.rows.window * self.columns.window


def cut(length: int, *, windows: int, halo: int, step: int) -> Axis:
    """An axis in at most so many windows, as short as possible.

    Args:
        length: Of the axis, a multiple of `step`, and longer than two halos if it is cut.
        windows: Their number; fewer if they suffice, because a core has whole steps.
        halo: Positions of a window that are not part of its core, on each side that is cut; a multiple of
            `step`.
        step: Windows start at multiples of it, and their length is one.
    """
    if windows == 1:
        return Axis(length, (Span(0, 0, length),))
    core = math.ceil((length - 2 * halo) / windows / step) * step
    windows = math.ceil((length - 2 * halo) / core)
    window = core + 2 * halo
    starts = [*(at * core for at in range(windows - 1)), length - window]
    edges = [0, *(start + window - halo for start in starts[:-1]), length]
    spans = zip(starts, edges[:-1], edges[1:], strict=True)
    return Axis(window, tuple(Span(*each) for each in spans))


@functools.lru_cache(maxsize=256)
def least_work(
    shape: tuple[int, int], *, halo: int, step: int, most_area: int, least_side: int, most_side: int
) -> TileGrid | None:
    """The grid with the fewest positions in all windows together.

    Args:
        shape: Rows and columns of the latent, multiples of `step`.
        halo: As of `cut`; rounded up to a multiple of `step`.
        step: As of `cut`.
        most_area: Most positions of a window.
        least_side: Shortest side of a window.
        most_side: Longest side of a window.

    Returns:
        None if the bounds leave no room for a core.
    """
    halo = math.ceil(halo / step) * step
    best: tuple[int, int] | None = None
    chosen = (0, 0)
    for rows, height in _choices(shape[0], halo=halo, step=step):
        if not least_side <= height <= most_side:
            continue
        most = min(most_side, most_area // height)
        fitting = (each for each in _choices(shape[1], halo=halo, step=step) if each[1] <= most)
        columns, width = next(fitting, (0, 0))
        work = (rows * columns * height * width, rows * columns)
        if width >= least_side and (best is None or work < best):
            best, chosen = work, (rows, columns)
    if best is None:
        return None
    rows_axis, columns_axis = (
        cut(length, windows=windows, halo=halo, step=step)
        for length, windows in zip(shape, chosen, strict=True)
    )
    return TileGrid(rows_axis, columns_axis, halo)


def _choices(length: int, *, halo: int, step: int) -> Iterator[tuple[int, int]]:
    """(windows, length of a window), the longest first: each number of windows that shortens them."""
    yield 1, length
    inner = length - 2 * halo
    windows = 1
    for core in range((inner - 1) // step * step, 0, -step):
        if (needed := math.ceil(inner / core)) > windows:
            windows = needed
            core_of_it = math.ceil(inner / windows / step) * step
            yield windows, core_of_it + 2 * halo
