"""Calibrate the mixtures of labels: narrow them until a judge recognises the labels of their draws.

Knows mixtures of labels, and a reader of the images that z decodes to. Knows nothing of encoders, fitting or
files.

A Gaussian has tails in regions without images of its label. A draw from there decodes to an image with no
label, or another one. A user who requests a seven wants a seven, so each label's Gaussians are narrowed
around their means, but no more than needed, because narrowing reduces the variety of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store import GaussianMixture, Metric

#: Factors on the deviations from a component's mean, in the order of the trials.
FACTORS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
#: Share of the draws whose label the judge must recognise; slightly above the target of 98 %.
WANTED_SHARE = 0.985
DRAWS = 2000
#: Maximum number of labels whose factors a protocol lists.
_NAMED = 20

Read = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""The label of the image of each z."""


@dataclass(frozen=True)
class LabelReader:
    """A judge that classifies the images that z decodes to."""

    read: Read
    about: str
    """The name of the judge, for the protocol."""


@dataclass(frozen=True, eq=False)
class Narrowed:
    """The mixture of a label in its published form."""

    mixture: GaussianMixture
    factor: float
    share: float
    """Share of its draws that the judge recognises as its label."""


def narrowed(label: int, mixture: GaussianMixture, *, read: Read, seed: int) -> Narrowed:
    """Scale with the largest of `FACTORS` at which the judge recognises enough draws as the label.

    If no factor is enough: scale with the largest at which it recognises about as many as at the best, within
    one standard error.

    Args:
        label: The judge's number of the label.
        mixture: Mixture of the label's images.
        read: The judge.
        seed: Seed of the draws; every factor uses the same noise.
    """
    rng = np.random.default_rng([seed, label])
    component = rng.choice(len(mixture.weights), DRAWS, p=mixture.weights)
    eps = rng.standard_normal((DRAWS, mixture.means.shape[1]))
    deviation = np.einsum("nij,nj->ni", mixture.cholesky[component].astype(np.float64), eps)
    shares: dict[float, float] = {}
    for factor in FACTORS:
        z = mixture.means[component] + factor * deviation
        shares[factor] = float((read(z.astype(np.float32)) == label).mean())
        if shares[factor] >= WANTED_SHARE:
            break
    best = max(shares.values())
    enough = WANTED_SHARE if best >= WANTED_SHARE else best - math.sqrt(best * (1.0 - best) / DRAWS)
    factor = next(factor for factor, share in shares.items() if share >= enough)
    return Narrowed(_scaled(mixture, factor), factor, shares[factor])


def _scaled(mixture: GaussianMixture, factor: float) -> GaussianMixture:
    return GaussianMixture(
        weights=mixture.weights, means=mixture.means, cholesky=mixture.cholesky * np.float32(factor)
    )


def narrow_labels(
    mixtures: Mapping[int, GaussianMixture], *, reader: LabelReader, seed: int
) -> dict[int, Narrowed]:
    """`narrowed` for the mixture of each label."""
    return {
        label: narrowed(label, mixture, read=reader.read, seed=seed) for label, mixture in mixtures.items()
    }


def asked_label_share(of: Mapping[str, Narrowed], *, by: str, seed: int) -> Metric:
    """The figure by which the factors were chosen, so slightly better than for other draws."""
    return Metric(
        name="asked_label_share",
        value=float(np.mean([each.share for each in of.values()])),
        unit="ratio",
        protocol=f"mean over labels of the share of {DRAWS:,} draws from the label's prior that {by} reads "
        f"as that label; seed {seed}, the draws by which each was narrowed",
    )


def protocol(of: Mapping[str, Narrowed], *, by: str, seed: int) -> str:
    """The changes of the mixtures of labels, in words."""
    factors = ", ".join(f"{label}: {each.factor:g}" for label, each in of.items())
    if len(of) > _NAMED:
        least, most = (extreme(each.factor for each in of.values()) for extreme in (min, max))
        factors = f"from {least:g} to {most:g}"
    return (
        "the standard deviations of each label's Gaussians then multiplied by the largest of "
        f"{FACTORS[0]:g}, {FACTORS[1]:g} … {FACTORS[-1]:g} at which {by} reads {100 * WANTED_SHARE:g} % of "
        f"{DRAWS:,} draws (seed {seed}) as that label, or where none is by one about as good as the best "
        f"({factors})"
    )
