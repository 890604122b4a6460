"""The likelihoods p(x|z) that a manifest can state.

Knows their names and parameters. Knows nothing of pixels or of how a cost is computed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_store.imported import UnknownLikelihood
from model_store.strict_model import StrictModel


class BernoulliLikelihood(StrictModel):
    """p(x|z) is a Bernoulli of each pixel; `x_hat` is its mean; the cost is cross-entropy."""

    name: Literal["bernoulli"] = "bernoulli"


class GaussianLikelihood(StrictModel):
    """p(x|z) is N(x_hat, sigma² I); the cost is squared error over 2 sigma², plus its normaliser."""

    name: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]
    """Standard deviation of a pixel, in units of the pixel range."""
    learned: bool
    """True if sigma was fitted with the weights, false if the recipe fixed it."""


Likelihood = Annotated[
    BernoulliLikelihood | GaussianLikelihood | UnknownLikelihood, Field(discriminator="name")
]
