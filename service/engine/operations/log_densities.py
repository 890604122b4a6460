"""Log densities of a model's outputs: nats, one number for each row, in float64.

Knows arrays and formulae. Knows nothing of models or noise. No row's number depends on the other rows, not by
one bit: a row is summed along itself only.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.operations.arrays import Float64Array

#: Least probability of a pixel's own value. A decoder gives the mean as float32, in which what is within 2⁻²⁵
#: of 1 is 1, and onnxruntime's Sigmoid knows nothing between 0 and 2⁻²⁵ either: 0 stands for what was rounded
#: away, not for the impossible. A pixel costs at most 25 ln 2 = 17.3 nats. The loss against logits is
#: measured in `tests/contract/test_scores_agree_with_training.py`.
LEAST_PROBABILITY: Final = 2.0**-25
_LOG_2PI: Final = math.log(2.0 * math.pi)

#: An extreme variance gives infinity or NaN, which the caller checks for.
_quietly = np.errstate(over="ignore", invalid="ignore")

Floats = NDArray[np.floating[Any]]


def log_bernoulli(x: NDArray[np.bool_], x_hat: NDArray[np.float32]) -> Float64Array:
    """log p(x|z) if every pixel is a coin that shows 1 with probability `x_hat`.

    Args:
        x: Binary pixels, shape (rows, pixels); on grey ones this would be a cross-entropy, and no likelihood.
        x_hat: The decoder's mean, of the same shape, in [0, 1].

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, appendix C.1, equation 11; from the mean, not from logits.
    """
    p = x_hat.astype(np.float64)
    own = np.where(x, p, 1.0 - p)
    terms: Float64Array = np.log(np.maximum(own, LEAST_PROBABILITY))
    return _sum(terms)


def log_gaussian(x: Floats, mean: Floats, *, sigma: float) -> Float64Array:
    """log p(x|z) if every pixel is N(mean, sigma²): a log density, which may be positive.

    Args:
        x: Pixels, shape (rows, pixels).
        mean: The decoder's mean, of the same shape.
        sigma: Standard deviation of a pixel, in units of the pixel range.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, appendix C.2, equation 12.
    """
    residual = (x.astype(np.float64) - mean.astype(np.float64)) / sigma
    return _sum(-0.5 * (residual * residual + _LOG_2PI) - math.log(sigma))


@_quietly
def log_standard_normal(z: Floats) -> Float64Array:
    """log p(z) under N(0, I), of latents of shape (rows, latent)."""
    values = z.astype(np.float64)
    return _sum(-0.5 * (values * values + _LOG_2PI))


@_quietly
def log_diagonal_gaussian(z: Floats, *, mu: Floats, logvar: Floats) -> Float64Array:
    """log q(z|x) under N(mu, exp(logvar)), all three of shape (rows, latent)."""
    log_variance = logvar.astype(np.float64)
    residual = (z.astype(np.float64) - mu.astype(np.float64)) * np.exp(-0.5 * log_variance)
    return _sum(-0.5 * (residual * residual + log_variance + _LOG_2PI))


@_quietly
def entropy_of_diagonal_gaussian(logvar: Floats) -> Float64Array:
    """-E_q[log q(z|x)] of q = N(mu, exp(logvar)) for any mu, summed over latents."""
    return _sum(0.5 * (1.0 + _LOG_2PI + logvar.astype(np.float64)))


@_quietly
def kl_to_standard_normal(mu: Floats, logvar: Floats) -> Float64Array:
    """KL(q(z|x) ‖ p(z)) for q = N(mu, exp(logvar)) and p = N(0, I), summed over latents: always >= 0.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, appendix B (sign flipped: the paper states -KL).
    """
    mean, log_variance = mu.astype(np.float64), logvar.astype(np.float64)
    # expm1(v) - v is precise near v = 0, where exp(v) - 1 - v is not.
    return _sum(0.5 * (mean * mean + np.expm1(log_variance) - log_variance))


@_quietly
def log_mean_exp(log_values: Float64Array) -> Float64Array:
    """log 1/K Σ_k exp(log_values[:, k]), shape (rows, K), without overflow."""
    largest = log_values.max(axis=1)
    weights = np.exp(log_values - largest[:, np.newaxis])
    log_mean: Float64Array = largest + np.log(weights.sum(axis=1) / log_values.shape[1])
    return log_mean


def _sum(terms: Float64Array) -> Float64Array:
    total: Float64Array = np.ascontiguousarray(terms).sum(axis=1)
    return total
