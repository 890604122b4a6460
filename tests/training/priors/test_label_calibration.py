"""Mixtures of labels are narrowed as far as a reader needs, and no further."""

from __future__ import annotations

import numpy as np
import pytest

from model_store.prior import GaussianMixture
from training.priors.label_calibration import DRAWS, WANTED_SHARE, narrowed, protocol

LATENTS = 3


def mixture(weights: list[float], means: list[float], sigma: float) -> GaussianMixture:
    """Gaussians along the first latent."""
    at = np.zeros((len(means), LATENTS), np.float32)
    at[:, 0] = means
    factor = np.tile(sigma * np.eye(LATENTS, dtype=np.float32), (len(means), 1, 1))
    return GaussianMixture(weights=np.array(weights), means=at, cholesky=factor)


def below(limit: float):
    """Who reads 7 where the first latent is nearer to zero than `limit`, and 1 elsewhere."""
    return lambda z: np.where(np.abs(z[:, 0]) < limit, 7, 1)


def test_what_is_read_as_asked_stays_as_it_was_fitted():
    whole = mixture([0.3, 0.7], [-1.0, 1.0], 0.5)
    done = narrowed(7, whole, read=below(100.0), seed=0)
    assert (done.factor, done.share) == (1.0, 1.0)
    np.testing.assert_array_equal(done.mixture.cholesky, whole.cholesky)


@pytest.mark.parametrize("limit", [2.2, 1.9, 1.4])
def test_the_deviations_shrink_until_enough_draws_are_read_as_asked(limit):
    """Of N(0, 1), 98.5 % lie within 2.432; steps are of 0.05, and 2,000 draws may be off by as much again."""
    done = narrowed(7, mixture([1.0], [0.0], 1.0), read=below(limit), seed=0)
    assert done.factor == pytest.approx(limit / 2.432, abs=0.08)
    assert done.share >= WANTED_SHARE
    np.testing.assert_allclose(done.mixture.cholesky[0], done.factor * np.eye(LATENTS), rtol=1e-6)


def test_neither_means_nor_weights_move():
    whole = mixture([0.3, 0.7], [-1.0, 1.0], 1.0)
    done = narrowed(7, whole, read=below(2.0), seed=0)
    assert done.factor < 1.0
    np.testing.assert_array_equal(done.mixture.means, whole.means)
    np.testing.assert_array_equal(done.mixture.weights, whole.weights)


def test_where_no_factor_is_enough_the_largest_that_is_about_as_good_as_the_best_is_taken():
    """A third of the draws come from a Gaussian whose mean itself is read as something else.

    The others lie within 2.5 for 98.8 % at a factor of 1, and practically all at 0.75 or less: two thirds of
    what is missing, 0.8 %, are less than the standard error of 1.05 %.
    """
    done = narrowed(7, mixture([2 / 3, 1 / 3], [0.0, 10.0], 1.0), read=below(2.5), seed=0)
    assert done.share == pytest.approx(2 / 3, abs=3 * (2 / 9 / DRAWS) ** 0.5)
    assert done.factor == 1.0
    tighter = narrowed(7, mixture([2 / 3, 1 / 3], [0.0, 10.0], 1.0), read=below(1.4), seed=0)
    # At 0.6 they lie within 2.33 deviations, 98.0 %, at 0.85 within 1.65, 90 %: 6 % of all draws fewer.
    assert 0.5 <= tighter.factor <= 0.8


def test_a_share_that_is_best_in_between_is_found():
    """Read as asked between 0.6 and 0.8 of the way to where a draw would lie."""
    ring = mixture([1.0], [0.0], 1e-3)

    def read(z: np.ndarray) -> np.ndarray:
        length = np.sqrt(np.square(z[:, 1]).mean())
        return np.full(len(z), 7 if 0.58e-3 < length < 0.82e-3 else 1)

    done = narrowed(7, ring, read=read, seed=0)
    assert (done.factor, done.share) == (0.8, 1.0)


def test_a_reader_who_sees_another_label_everywhere_leaves_the_mixture_as_it_is():
    done = narrowed(3, mixture([1.0], [0.0], 1.0), read=below(100.0), seed=0)
    assert (done.factor, done.share) == (1.0, 0.0)


def test_the_draws_are_those_of_the_mixture_and_of_the_seed():
    seen: list[np.ndarray] = []

    def read(z: np.ndarray) -> np.ndarray:
        seen.append(z)
        return np.full(len(z), 7)

    whole = mixture([0.25, 0.75], [-4.0, 4.0], 0.5)
    for seed in (0, 0, 1):
        narrowed(7, whole, read=read, seed=seed)
    first, again, other = seen
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first[:, 0] > 0).mean() == pytest.approx(0.75, abs=4 * (0.1875 / DRAWS) ** 0.5)
    assert first[:, 1].std() == pytest.approx(0.5, rel=0.1)


def test_the_protocol_names_the_reader_and_each_label_s_factor():
    done = narrowed(7, mixture([1.0], [0.0], 1.0), read=below(2.0), seed=0)
    said = protocol({"seven": done}, by="a classifier with 99.5 % accuracy", seed=0)
    assert "a classifier with 99.5 % accuracy reads 98.5 % of 2,000 draws (seed 0)" in said
    assert said.endswith("(seven: 0.8)")


def test_the_protocol_of_many_labels_fits_into_a_manifest():
    done = narrowed(7, mixture([1.0], [0.0], 1.0), read=below(2.0), seed=0)
    said = protocol({f"a label of many letters, {n}": done for n in range(1000)}, by="somebody", seed=0)
    assert said.endswith("(from 0.8 to 0.8)")
    assert len(said) < 1000
