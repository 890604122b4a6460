"""What codes tell, on arrangements whose answer is plain to see."""

import numpy as np
import pytest
import torch

from training.evaluation.measures.codes import evenness, linear_probe_accuracy, neighbour_agreement, whitened


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def quantile_grid(side):
    """Points at the middle quantiles of N(0, I): one in each of `side` × `side` equally likely cells."""
    quantiles = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).numpy()
    return np.stack(np.meshgrid(quantiles, quantiles), axis=-1).reshape(-1, 2)


def test_probe_finds_labels_that_a_line_divides_whatever_their_scale(rng):
    codes = rng.standard_normal((400, 3)) * [1e-3, 1.0, 1e3]
    labels = (codes[:, 0] > 0.0).astype(np.int64)
    inside = np.abs(codes[:, 0]) > 2e-4  # away from the line, where a fit from 200 points may lie
    accuracy = linear_probe_accuracy(
        codes[:200],
        labels[:200],
        test_codes=codes[200:][inside[200:]],
        test_labels=labels[200:][inside[200:]],
    )
    assert accuracy == 1.0


def test_probe_finds_nothing_in_codes_that_know_nothing_of_the_label(rng):
    """Asked about codes that it was not fitted on: otherwise chance would look like knowledge."""
    codes = rng.standard_normal((4000, 20))
    labels = rng.integers(0, 2, 4000)
    accuracy = linear_probe_accuracy(
        codes[:2000], labels[:2000], test_codes=codes[2000:], test_labels=labels[2000:]
    )
    assert accuracy == pytest.approx(0.5, abs=0.05)


def test_probe_tells_more_than_two_labels_apart(rng):
    labels = np.arange(300) % 3
    codes = np.array([[0.0, 5.0], [5.0, -5.0], [-5.0, -5.0]])[labels] + 0.3 * rng.standard_normal((300, 2))
    assert linear_probe_accuracy(codes, labels, test_codes=codes, test_labels=labels) == 1.0


def test_neighbours_are_counted_as_by_hand():
    """0 and 1 lie together, 10, 11 and 12 lie together; the point at 11 has another label."""
    codes = np.array([[0.0], [1.0], [10.0], [11.1], [12.0]])
    labels = np.array([0, 0, 1, 0, 1])
    # Nearest: 0→1 same, 1→0 same, 10→11.1 other, 11.1→12 other, 12→11.1 other.
    assert neighbour_agreement(codes, labels, neighbours=1) == pytest.approx(2 / 5)
    # Two nearest: 0→{1, 10} 1, 1→{0, 10} 1, 10→{11.1, 12} 1, 11.1→{12, 10} 0, 12→{11.1, 10} 1 of 2 each.
    assert neighbour_agreement(codes, labels, neighbours=2) == pytest.approx(4 / 10)


def test_equal_codes_are_neighbours_of_one_another():
    assert neighbour_agreement(np.zeros((4, 2)), np.array([1, 1, 1, 1]), neighbours=2) == 1.0


def test_points_in_every_cell_alike_are_perfectly_even():
    found = evenness(np.repeat(quantile_grid(10), 20, axis=0))
    assert found.side == 10
    assert found.evenness == pytest.approx(1.0)
    assert found.empty == 0.0


def test_points_in_one_cell_leave_all_others_empty():
    found = evenness(np.full((2000, 2), 0.05))
    assert found.evenness == pytest.approx(1 / 100)
    assert found.empty == pytest.approx(99 / 100)


def test_points_in_a_half_plane_leave_half_of_the_cells_empty():
    grid = quantile_grid(10)
    found = evenness(np.repeat(grid[grid[:, 0] > 0.0], 40, axis=0))
    assert found.evenness == pytest.approx(0.5)
    assert found.empty == pytest.approx(0.5)


def test_draws_from_the_density_itself_are_even_to_within_chance(rng):
    """exp(entropy) of n draws over k cells is short by a factor of about 1 - (k - 1) / 2n."""
    found = evenness(rng.standard_normal((10_000, 2)))
    assert found.evenness == pytest.approx(1.0 - 99 / 20_000, abs=0.002)
    assert found.empty == 0.0


def test_cells_are_fewer_where_points_are_few_and_far_points_are_counted(rng):
    assert evenness(rng.standard_normal((400, 2))).side == 4
    assert evenness(np.full((8, 2), 40.0)).evenness == pytest.approx(1 / 4)


def test_whitened_codes_have_mean_zero_and_covariance_one(rng):
    mixed = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3)) + [5.0, -2.0, 100.0]
    found = whitened(mixed)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cov(found, rowvar=False, bias=True), np.eye(3), atol=1e-6)


def test_a_code_that_never_moves_stays_at_zero(rng):
    codes = np.stack([rng.standard_normal(100), np.full(100, 3.0)], axis=1)
    np.testing.assert_allclose(whitened(codes)[:, 1], 0.0, atol=1e-9)
    np.testing.assert_array_equal(whitened(np.ones((5, 2))), 0.0)
