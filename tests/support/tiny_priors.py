"""Fitted priors with known answers, made by hand: no data, no fitting.

Knows NumPy and the store's names for priors. `mixture` makes one density from numbers, `fitted_prior` a whole
manifest entry with its mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model_store import FittedPrior, GaussianMixture, LabelledMixture, Metric, PriorMixtures

Fitted = tuple[FittedPrior, PriorMixtures]


def mixture(*, latent_size: int, components: int, seed: int, around: float = 0.0) -> GaussianMixture:
    """Random weights, means about `around` with a standard deviation of 2, and full covariances."""
    rng = np.random.default_rng(seed)
    weights = rng.random(components) + 0.2
    factors = np.tril(rng.normal(0.0, 0.3, (components, latent_size, latent_size)))
    factors[:, range(latent_size), range(latent_size)] = rng.uniform(0.3, 1.2, (components, latent_size))
    return GaussianMixture(
        weights=weights / weights.sum(),
        means=rng.normal(around, 2.0, (components, latent_size)).astype(np.float32),
        cholesky=factors.astype(np.float32),
    )


def fitted_prior(
    latent_size: int, *, components: int = 3, labels: Mapping[str, int] | None = None, seed: int = 0
) -> Fitted:
    """One mixture of all images, and one for each label, with so many components; labels lie far apart."""
    labels = {"0": 1, "1": 2, "7": 3} if labels is None else labels
    mixtures = [mixture(latent_size=latent_size, components=components, seed=seed)]
    mixtures += [
        mixture(latent_size=latent_size, components=count, seed=seed + number, around=10.0 * number)
        for number, count in enumerate(labels.values(), start=1)
    ]
    entry = FittedPrior(
        components=components,
        labels=tuple(
            LabelledMixture(label=label, components=count, share=1.0 / len(labels))
            for label, count in labels.items()
        ),
        protocol="Made by hand for tests; fitted to nothing.",
        metrics=(
            Metric(
                name="prior_log_density",
                value=-40.25,
                unit="nats per image",
                protocol="Invented for tests; measured on nothing.",
            ),
        ),
    )
    return entry, PriorMixtures.of(tuple(mixtures))


def only(density: GaussianMixture) -> Fitted:
    """A fitted prior of this one density, without labels."""
    entry, _ = fitted_prior(density.means.shape[1], components=len(density.weights), labels={})
    return entry, PriorMixtures.of((density,))
