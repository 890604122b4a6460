"""Gaussian mixtures, fitted to rows of z by EM, with a number of components chosen on held-out rows.

Knows rows of numbers, scikit-learn and the store's mixtures. Knows nothing of images, labels, models or
files. Densities are in nats.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as ExpectationMaximisation

from model_store.prior import GaussianMixture

#: EM ends when the mean log density rises by less than this in a round, in nats, or after so many rounds.
TOLERANCE_NATS = 1e-3
MOST_ROUNDS = 200
#: Added to every variance, as a fraction of the mean variance of the rows: a constant latent, which an
#: autoencoder may have, would make its covariance singular.
REGULARISATION = 1e-4

Rows = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChosenMixture:
    """A mixture, and the comparison of the tried numbers of components on held-out rows."""

    mixture: GaussianMixture
    held_out_nats: dict[int, float]
    """Mean log density of the held-out rows, by the tried number of components."""


def rows_needed(latent_size: int, components: int) -> int:
    """Minimum number of rows for full covariances: twice as many for each as make one of full rank."""
    return 2 * (latent_size + 1) * components


def choose_mixture(
    z: Rows, held_out: Rows, *, candidates: Sequence[int], seed: int, rows_of_each: int = 1
) -> ChosenMixture:
    """Fit a mixture of each size that the rows suffice for, and return the best on held-out rows.

    Args:
        z: Rows to fit to, (n, latent), at least `rows_needed(latent, 1)` of them.
        held_out: Rows for the choice, (m, latent), at least one.
        candidates: Numbers of components to try.
        seed: Seed of the initial clusters.
        rows_of_each: Number of rows of one observation, such as draws from one posterior: more of them do not
            suffice for more covariances.

    Returns:
        The best of them, in its published form: the figures belong to its rounded numbers.

    Source:
        Ghosh et al. 2019, arXiv:1903.12436, section 4 (ex-post density estimation): a density is fitted to
        the latents of a trained model. The choice by held-out rows is ours; the paper uses ten components.
    """
    observations = len(z) // rows_of_each
    suffices = [count for count in candidates if observations >= rows_needed(z.shape[1], count)]
    fitted = {count: fit_mixture(z, components=count, seed=seed) for count in suffices or (1,)}
    scores = {count: float(log_density(mixture, held_out).mean()) for count, mixture in fitted.items()}
    return ChosenMixture(fitted[max(scores, key=scores.__getitem__)], scores)


def joined(mixtures: Sequence[GaussianMixture], shares: Sequence[float]) -> GaussianMixture:
    """One mixture of the Gaussians of several mixtures, weighted by the mixtures' shares of the draws."""
    weights = np.concatenate([share * each.weights for each, share in zip(mixtures, shares, strict=True)])
    return GaussianMixture(
        weights=weights / weights.sum(),
        means=np.concatenate([each.means for each in mixtures]),
        cholesky=np.concatenate([each.cholesky for each in mixtures]),
    )


def fit_mixture(z: Rows, *, components: int, seed: int) -> GaussianMixture:
    """A mixture of Gaussians with full covariances, by EM from k-means clusters.

    Args:
        z: Rows, (n, latent), n at least `components`.
        components: Number of Gaussians; one that ends with less than a row of its own is dropped.
        seed: Seed of the initial clusters.

    Source:
        Dempster, Laird & Rubin 1977, "Maximum likelihood from incomplete data via the EM
        algorithm", section 4.3.
    """
    rows = z.astype(np.float64)
    machine = ExpectationMaximisation(
        components,
        covariance_type="full",
        tol=TOLERANCE_NATS,
        max_iter=MOST_ROUNDS,
        reg_covar=max(REGULARISATION * float(rows.var(axis=0).mean()), 1e-12),
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The maximum of rounds is a budget and not a failure: held-out rows assess the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(rows)
    kept = machine.weights_ * len(rows) >= 1.0
    weights = machine.weights_[kept]
    return GaussianMixture(
        weights=weights / weights.sum(),
        means=machine.means_[kept].astype(np.float32),
        cholesky=np.linalg.cholesky(machine.covariances_[kept]).astype(np.float32),
    )


def log_density(mixture: GaussianMixture, z: Rows) -> NDArray[np.float64]:
    """log p(z) of each row, in nats.

    log Σ_k w_k N(z; m_k, L_k L_kᵀ), by logsumexp in float64; log |L Lᵀ| is twice the sum of the logarithms of
    the diagonal of L.
    """
    rows = z.astype(np.float64)
    terms = [
        np.log(weight) + gaussian_log_density(rows, mean.astype(np.float64), factor.astype(np.float64))
        for weight, mean, factor in zip(mixture.weights, mixture.means, mixture.cholesky, strict=True)
    ]
    total: NDArray[np.float64] = logsumexp(np.stack(terms), axis=0)
    return total


def standard_normal_log_density(z: Rows) -> NDArray[np.float64]:
    """log N(z; 0, I) of each row, in nats."""
    rows = z.astype(np.float64)
    latent = rows.shape[1]
    return gaussian_log_density(rows, np.zeros(latent), np.eye(latent))


def gaussian_log_density(
    rows: NDArray[np.float64], mean: NDArray[np.float64], factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """log N(z; mean, factor factorᵀ) of each row, in nats; `factor` lower triangular."""
    whitened = solve_triangular(factor, (rows - mean).T, lower=True)
    constant = 0.5 * len(mean) * np.log(2.0 * np.pi) + np.log(np.diag(factor)).sum()
    density: NDArray[np.float64] = -0.5 * np.square(whitened).sum(axis=0) - constant
    return density
