"""Distances between sets of vectors, against closed forms and counts by hand."""

import numpy as np
import pytest
import scipy.linalg

from training.evaluation.measures.codes import whitened
from training.evaluation.measures.distributions import auroc, density_and_coverage, frechet_distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def with_moments(rng, mean, covariance, count=500):
    """Points with exactly this mean and (unbiased) covariance."""
    points = whitened(rng.standard_normal((count, len(mean)))) * np.sqrt((count - 1) / count)
    return points @ np.linalg.cholesky(np.asarray(covariance)).T + mean


def test_equal_sets_are_at_distance_zero(rng):
    points = rng.standard_normal((200, 5))
    assert frechet_distance(points, points[::-1]) == pytest.approx(0.0, abs=1e-9)


def test_moved_set_is_at_the_squared_length_of_the_move(rng):
    points = rng.standard_normal((200, 3))
    assert frechet_distance(points, points + np.array([3.0, 0.0, 4.0])) == pytest.approx(25.0)


def test_diagonal_gaussians_are_at_their_closed_form(rng):
    """Σ (σa - σb)² for equal means and covariances that commute."""
    a = with_moments(rng, [0.0, 0.0], np.diag([1.0, 4.0]))
    b = with_moments(rng, [0.0, 0.0], np.diag([9.0, 0.25]), count=300)
    assert frechet_distance(a, b) == pytest.approx((1.0 - 3.0) ** 2 + (2.0 - 0.5) ** 2, rel=1e-5)


def test_covariances_that_do_not_commute_agree_with_the_matrix_square_root(rng):
    first, second = (m @ m.T for m in rng.standard_normal((2, 4, 4)))
    a, b = with_moments(rng, np.zeros(4), first), with_moments(rng, np.ones(4), second)
    root = scipy.linalg.sqrtm(first @ second)
    expected = 4.0 + np.trace(first + second - 2.0 * root.real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-5)


def test_features_that_never_move_are_no_obstacle(rng):
    a, b = np.zeros((50, 3)), np.zeros((50, 3))
    a[:, 0], b[:, 0] = rng.standard_normal(50), rng.standard_normal(50)
    b[:, 2] = 2.0
    assert frechet_distance(a, b) == pytest.approx(
        4.0 + (a[:, 0].mean() - b[:, 0].mean()) ** 2 + (a[:, 0].std(ddof=1) - b[:, 0].std(ddof=1)) ** 2
    )


def test_density_and_coverage_are_counted_as_by_hand():
    """Balls with k = 1: around 0 and 1 of radius 1, around 10 of radius 9."""
    real = np.array([[0.0], [1.0], [10.0]])
    # 0.5 is in the balls of 0 and 1; 1.5 in those of 1 and 10; 30 in none.
    assert density_and_coverage(real, np.array([[0.5], [1.5], [30.0]]), neighbours=1) == (4 / 3, 1.0)
    assert density_and_coverage(real, np.array([[-0.5], [-0.6], [-0.7]]), neighbours=1) == (1.0, 1 / 3)
    assert density_and_coverage(real, np.array([[50.0]]), neighbours=1) == (0.0, 0.0)


def test_same_distribution_has_density_one_and_the_coverage_of_theory(rng):
    """For as many samples as real examples 1 - 2⁻ᵏ: missed where the k nearest of all are real ones."""
    real, fake = rng.standard_normal((2, 2000, 4))
    density, coverage = density_and_coverage(real, fake, neighbours=5)
    assert density == pytest.approx(1.0, abs=0.06)
    assert coverage == pytest.approx(1.0 - 2.0**-5, abs=0.02)


def test_samples_of_one_mode_of_two_cover_half(rng):
    real = np.concatenate([rng.standard_normal((500, 2)), 100.0 + rng.standard_normal((500, 2))])
    _, coverage = density_and_coverage(real, rng.standard_normal((1000, 2)), neighbours=5)
    assert 0.4 < coverage < 0.51


def test_auroc_is_the_share_of_pairs_in_order_ties_counted_half():
    inside, outside = np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])
    # 3 beats all three; 1 loses to 2, ties with 1, beats 0.
    assert auroc(inside, outside) == pytest.approx((3 + 0 + 0.5 + 1) / 6)
    assert auroc(outside, inside) == pytest.approx(1.0 - 4.5 / 6)
    assert auroc(inside, inside) == pytest.approx(0.5)
