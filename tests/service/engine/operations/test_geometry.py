"""Ways and grids in latent space: exact ends, arcs that keep their length, quantiles, and no arc at all."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.operations.geometry import METHODS, SPACINGS, grid, interpolation_path
from service.engine.operations.noise import standard_normal


def ends_of(a: list[float], b: list[float]) -> np.ndarray:
    return np.array([a, b], np.float32)


def drawn(size: int = 32) -> np.ndarray:
    return standard_normal(seed=4, first_row=0, rows=2, size=size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [2, 3, 8, 257])
def test_a_way_begins_and_ends_at_its_ends_to_the_bit(method, steps):
    ends = drawn()
    path = interpolation_path(ends, steps=steps, method=method)
    assert path.shape == (steps, 32)
    assert path.dtype == np.float32
    assert path[0].tobytes() == ends[0].tobytes()
    assert path[-1].tobytes() == ends[1].tobytes()


def test_lerp_goes_straight_in_equal_steps():
    path = interpolation_path(ends_of([0, 4], [8, 0]), steps=5, method="lerp")
    np.testing.assert_array_equal(path, [[0, 4], [2, 3], [4, 2], [6, 1], [8, 0]])


def test_slerp_of_a_right_angle_follows_the_circle():
    path = interpolation_path(ends_of([2, 0], [0, 2]), steps=4, method="slerp")
    angles = np.radians([0, 30, 60, 90])
    np.testing.assert_allclose(path, 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


def test_slerp_turns_by_equal_angles_and_changes_its_length_evenly():
    ends = drawn()
    path = interpolation_path(ends, steps=9, method="slerp").astype(np.float64)
    lengths = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 9), rtol=1e-6)
    units = path / lengths[:, np.newaxis]
    angles = np.arccos((units[1:] * units[:-1]).sum(axis=1))
    np.testing.assert_allclose(angles, angles.mean(), rtol=1e-5)
    whole = math.acos(float(units[0] @ units[-1]))
    assert angles.sum() == pytest.approx(whole, rel=1e-6)


def test_slerp_stays_where_a_gaussian_has_its_draws_and_lerp_does_not():
    """The reason for slerp: the middle of a chord is shorter than all but one draw in a hundred."""
    lengths = np.linalg.norm(standard_normal(seed=0, first_row=0, rows=10_000, size=32), axis=1)
    straight = [
        np.linalg.norm(interpolation_path(pair, steps=3, method="lerp")[1])
        for pair in standard_normal(seed=1, first_row=0, rows=200, size=32).reshape(100, 2, 32)
    ]
    arcs = [
        np.linalg.norm(interpolation_path(pair, steps=3, method="slerp")[1])
        for pair in standard_normal(seed=1, first_row=0, rows=200, size=32).reshape(100, 2, 32)
    ]
    assert np.median(straight) < np.quantile(lengths, 0.01)
    assert np.quantile(lengths, 0.1) < np.median(arcs) < np.quantile(lengths, 0.9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0, 0], [3, 4]), ([3, 4], [0, 0]), ([0, 0], [0, 0]), ([3, 4], [3, 4]), ([3, 4], [6, 8]),
        ([3, 4], [-3, -4]), ([3, 4], [-6, -8]), ([1, 0], [1, 1e-8]), ([1, 0], [-1, 1e-8]),
    ],
)  # fmt: skip
def test_where_there_is_no_single_arc_slerp_goes_straight(a, b):
    """Zero has no direction, equal directions span no circle, and opposite ones span any."""
    ends = ends_of(a, b)
    path = interpolation_path(ends, steps=5, method="slerp")
    np.testing.assert_array_equal(path, interpolation_path(ends, steps=5, method="lerp"))
    assert np.isfinite(path).all()


@pytest.mark.parametrize("angle", [1e-5, 1e-3, math.pi - 1e-3, math.pi - 1e-5])
def test_nearly_parallel_and_nearly_opposite_ends_have_an_arc_within_their_lengths(angle):
    """White's formula on ends of 1 and 10 that are π - 1e-3 apart would reach 4,500."""
    ends = ends_of([1, 0], [10 * math.cos(angle), 10 * math.sin(angle)])
    lengths = np.linalg.norm(interpolation_path(ends, steps=11, method="slerp").astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, np.linspace(1, 10, 11), rtol=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6),
    steps=st.integers(2, 20),
)
def test_no_ends_give_anything_but_numbers_between_their_lengths(values, steps):
    ends = np.array(values, np.float32).reshape(2, 3)
    lengths = np.linalg.norm(ends.astype(np.float64), axis=1)
    for method in METHODS:
        path = interpolation_path(ends, steps=steps, method=method).astype(np.float64)
        assert np.isfinite(path).all()
        assert np.linalg.norm(path, axis=1).max() <= lengths.max() * (1 + 1e-6) + 1e-30


@pytest.mark.parametrize("steps", [2, 3, 8, 9, 256])
@pytest.mark.parametrize("span", [0.1, 1.0, 2.0, 6.0, 10.0])
def test_quantiles_have_equal_mass_between_them(steps, span):
    values = grid(steps=steps, spacing="quantile", span=span)
    assert (values[0], values[-1]) == (-span, span)
    np.testing.assert_array_equal(values, -values[::-1])
    assert (np.diff(values) > 0).all()
    masses = np.diff([NormalDist().cdf(value) for value in values])
    np.testing.assert_allclose(masses, (1 - math.erfc(span / math.sqrt(2))) / (steps - 1), rtol=1e-9)


@pytest.mark.parametrize("steps", [2, 3, 8, 9])
def test_linear_values_are_equally_far_apart(steps):
    np.testing.assert_allclose(
        grid(steps=steps, spacing="linear", span=3.0), np.linspace(-3.0, 3.0, steps), atol=1e-15
    )


@pytest.mark.parametrize("spacing", SPACINGS)
def test_an_odd_grid_goes_through_the_middle(spacing):
    assert grid(steps=7, spacing=spacing, span=2.5)[3] == 0.0
