"""Windows cover a latent, have a halo wherever it is cut, and their cores meet without a gap."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.operations.tile_grid import Axis, cut, least_work


def check(axis: Axis, length: int, halo: int, step: int) -> None:
    assert axis.spans[0].first == 0
    assert axis.spans[-1].last == length
    for left, right in zip(axis.spans, axis.spans[1:], strict=False):
        assert left.last == right.first, "cores meet"
    for span in axis.spans:
        assert span.start % step == 0
        assert 0 <= span.start <= span.first < span.last <= span.start + axis.window <= length
        assert span.start == 0 or span.first - span.start >= halo
        assert span.start + axis.window == length or span.start + axis.window - span.last >= halo


@pytest.mark.parametrize("step", [1, 2, 4])
def test_any_length_is_cut_into_windows_with_their_halo(step: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        length = step * int(rng.integers(1, 260))
        halo = step * int(rng.integers(0, 12))
        most = (length - 2 * halo) // step
        windows = int(rng.integers(1, max(2, most)))
        if windows > 1 and length > 2 * halo:
            axis = cut(length, windows=windows, halo=halo, step=step)
            check(axis, length, halo, step)


def test_a_grid_keeps_its_bounds_and_takes_the_least_work() -> None:
    for rows, columns in ((64, 64), (128, 40), (17, 300), (300, 300)):
        grid = least_work((rows, columns), halo=9, step=1, most_area=1800, least_side=1, most_side=128)
        assert grid is not None
        assert grid.area <= 1800
        assert max(grid.rows.window, grid.columns.window) <= 128
        check(grid.rows, rows, 9, 1)
        check(grid.columns, columns, 9, 1)
    square = least_work((64, 64), halo=9, step=1, most_area=1800, least_side=1, most_side=128)
    assert square is not None
    assert (square.count, square.rows.window, square.columns.window) == (4, 41, 41)


def test_a_bound_without_room_for_a_core_has_no_grid() -> None:
    assert least_work((64, 64), halo=9, step=1, most_area=18 * 18, least_side=1, most_side=128) is None
    assert least_work((64, 64), halo=9, step=1, most_area=1800, least_side=60, most_side=128) is None


def test_a_halo_is_rounded_up_to_the_step_of_the_graph() -> None:
    grid = least_work((64, 64), halo=3, step=2, most_area=1000, least_side=1, most_side=128)
    assert grid is not None
    assert grid.halo == 4
    check(grid.rows, 64, 3, 2)
