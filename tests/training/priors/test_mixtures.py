"""Mixtures: recovered where they are known, and held against SciPy, scikit-learn and the server's draws."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as ExpectationMaximisation
from tiny_priors import mixture

from model_store import GaussianMixture
from service.engine.operations.priors import Mixture
from training.priors.mixtures import (
    choose_mixture,
    fit_mixture,
    joined,
    log_density,
    rows_needed,
    standard_normal_log_density,
)

#: Three Gaussians in two dimensions, far enough apart to be told apart.
KNOWN = GaussianMixture(
    weights=np.array([0.5, 0.3, 0.2]),
    means=np.array([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]], np.float32),
    cholesky=np.array([[[1.0, 0], [0.5, 0.5]], [[0.5, 0], [-0.25, 1.0]], [[0.75, 0], [0, 0.25]]], np.float32),
)


def drawn(known: GaussianMixture, rows: int, *, seed: int = 0) -> np.ndarray:
    """By the server's own code: what is fitted here is what is drawn from there."""
    return Mixture(known, label=None).draw(seed=seed, first_row=0, rows=rows, temperature=1.0)


def test_a_known_mixture_is_recovered() -> None:
    fitted = fit_mixture(drawn(KNOWN, 20_000), components=3, seed=0)
    order = [int(np.abs(fitted.means - mean).sum(axis=1).argmin()) for mean in KNOWN.means]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(fitted.weights[order], KNOWN.weights, atol=0.015)
    np.testing.assert_allclose(fitted.means[order], KNOWN.means, atol=0.05)
    np.testing.assert_allclose(fitted.cholesky[order], KNOWN.cholesky, atol=0.04)


def test_the_number_of_components_of_a_known_mixture_is_found_on_rows_held_out() -> None:
    chosen = choose_mixture(drawn(KNOWN, 5_000), drawn(KNOWN, 2_000, seed=1), candidates=(1, 3, 12), seed=0)
    assert len(chosen.mixture.weights) == 3
    assert list(chosen.held_out_nats) == [1, 3, 12]
    assert chosen.held_out_nats[3] == max(chosen.held_out_nats.values())


def test_more_components_than_the_rows_suffice_for_are_not_tried() -> None:
    """20 rows of 2 latents would be divided among 12 Gaussians of five numbers each."""
    chosen = choose_mixture(drawn(KNOWN, 20), drawn(KNOWN, 500, seed=1), candidates=(1, 3, 12), seed=0)
    assert list(chosen.held_out_nats) == [1, 3]
    assert rows_needed(2, 3) == 18


def test_several_draws_of_one_observation_do_not_suffice_for_more_components() -> None:
    rows = drawn(KNOWN, 80)
    chosen = choose_mixture(rows, drawn(KNOWN, 500, seed=1), candidates=(1, 3, 12), seed=0, rows_of_each=4)
    assert list(chosen.held_out_nats) == [1, 3]


def test_joined_mixtures_have_the_density_of_their_shares() -> None:
    one, other = mixture(latent_size=3, components=2, seed=1), mixture(latent_size=3, components=4, seed=2)
    z = drawn(one, 50)
    both = joined([one, other], [0.3, 0.7])
    expected = 0.3 * np.exp(log_density(one, z)) + 0.7 * np.exp(log_density(other, z))
    np.testing.assert_allclose(np.exp(log_density(both, z)), expected, rtol=1e-9)
    assert both.weights.sum() == pytest.approx(1.0)


def test_log_density_is_scipy_s() -> None:
    known = mixture(latent_size=4, components=3, seed=5)
    z = drawn(known, 200)
    expected = np.zeros(200)
    factors = known.cholesky.astype(np.float64)
    for weight, mean, factor in zip(known.weights, known.means, factors, strict=True):
        expected += weight * multivariate_normal(mean, factor @ factor.T).pdf(z)
    np.testing.assert_allclose(log_density(known, z), np.log(expected), rtol=1e-9)


def test_log_density_far_from_every_component_is_finite() -> None:
    """Where the densities themselves are zero in float64."""
    far = np.full((1, 2), 1000.0, np.float32)
    nearest = max(
        multivariate_normal(mean, factor @ factor.T).logpdf(far[0])
        for mean, factor in zip(KNOWN.means, KNOWN.cholesky.astype(np.float64), strict=True)
    )
    assert log_density(KNOWN, far)[0] == pytest.approx(nearest, rel=1e-5)


def test_log_density_of_a_fit_is_scikit_learn_s() -> None:
    """What is published is float32; what it costs is told by the same figure."""
    z = drawn(KNOWN, 3_000)
    machine = ExpectationMaximisation(3, random_state=0, reg_covar=1e-4 * z.var(axis=0).mean(), max_iter=200)
    expected = machine.fit(z.astype(np.float64)).score_samples(z.astype(np.float64))
    got = log_density(fit_mixture(z, components=3, seed=0), z)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_standard_normal_log_density_is_scipy_s() -> None:
    z = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    np.testing.assert_allclose(standard_normal_log_density(z), multivariate_normal(np.zeros(7)).logpdf(z))


def test_a_log_density_is_one() -> None:
    """Its exponential integrates to 1, over a grid that holds all of it."""
    side = np.linspace(-12, 12, 601, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    total = np.exp(log_density(KNOWN, grid)).sum() * (24 / 600) ** 2
    assert total == pytest.approx(1.0, abs=1e-3)


def test_the_same_seed_gives_the_same_mixture() -> None:
    z = drawn(KNOWN, 2_000)
    one, same = (fit_mixture(z, components=4, seed=3) for _ in range(2))
    for name in ("weights", "means", "cholesky"):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes()


def test_a_latent_that_never_varies_gives_no_singular_covariance() -> None:
    """An autoencoder's dead latent."""
    z = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    z[:, 1] = 0.25
    fitted = fit_mixture(z, components=2, seed=0)
    assert (np.diagonal(fitted.cholesky, axis1=1, axis2=2) > 0).all()
    assert np.isfinite(log_density(fitted, z)).all()
    assert (fit_mixture(np.zeros_like(z), components=1, seed=0).cholesky[0].diagonal() > 0).all()


def test_a_fit_is_what_a_version_takes() -> None:
    fitted = fit_mixture(drawn(KNOWN, 500), components=5, seed=0)
    assert (fitted.weights.dtype, fitted.means.dtype, fitted.cholesky.dtype) == (
        np.float64, np.float32, np.float32,
    )  # fmt: skip
    assert abs(fitted.weights.sum() - 1.0) < 1e-12
    assert not np.triu(fitted.cholesky, k=1).any()


def test_a_fit_that_ends_by_its_rounds_is_no_warning() -> None:
    """Warnings are errors here; what was reached by then is judged by rows held out."""
    noise = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.priors.mixtures.MOST_ROUNDS", 1)
            fit_mixture(noise, components=4, seed=0)
