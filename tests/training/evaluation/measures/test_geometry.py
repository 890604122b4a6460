"""Paths between codes, against geometry."""

import math

import numpy as np
import pytest

from training.evaluation.measures.geometry import largest_step, lerp, slerp

X, Y = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])


@pytest.mark.parametrize("way", [lerp, slerp])
def test_path_starts_and_ends_at_its_ends(way):
    start, end = np.random.default_rng(0).standard_normal((2, 7, 5))
    path = way(start, end, 9)
    assert path.shape == (7, 9, 5)
    np.testing.assert_allclose(path[:, 0], start, atol=1e-12)
    np.testing.assert_allclose(path[:, -1], end, atol=1e-12)


def test_straight_line_passes_through_the_mean():
    np.testing.assert_allclose(lerp(X, Y, 3)[0, 1], [0.5, 0.5])


def test_arc_passes_through_the_middle_of_the_angle_and_keeps_the_length():
    path = slerp(2.0 * X, 2.0 * Y, 5)[0]
    np.testing.assert_allclose(path[2], [math.sqrt(2.0), math.sqrt(2.0)])
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2.0)
    angles = np.arctan2(path[:, 1], path[:, 0])
    np.testing.assert_allclose(np.diff(angles), math.pi / 8)


@pytest.mark.parametrize("end", [3.0 * X, -X, np.zeros((1, 2)), X])
def test_ends_without_one_arc_between_them_are_joined_by_the_straight_line(end):
    np.testing.assert_allclose(slerp(X, end, 6), lerp(X, end, 6), atol=1e-12)


def test_even_changes_have_a_largest_step_of_one():
    frames = np.linspace(0.0, 1.0, 11)[None, :, None] * np.ones((1, 11, 4))
    np.testing.assert_allclose(largest_step(frames), 1.0)


def test_change_at_once_has_a_largest_step_of_all_steps():
    frames = np.zeros((2, 11, 4))
    frames[0, 6:] = 1.0
    np.testing.assert_allclose(largest_step(frames), [10.0, 1.0])  # the second never changes


def test_step_is_a_root_mean_square_over_pixels():
    frames = np.array([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [3.0, 5.0]]])
    changes = [5 / math.sqrt(2), 0.0, 1 / math.sqrt(2)]
    np.testing.assert_allclose(largest_step(frames), max(changes) / (sum(changes) / 3))
