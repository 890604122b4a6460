"""The KL term in two parts: information of z about its image, and distance of all posteriors from the prior.

Knows Gaussians and nats. Knows nothing of models or images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from training.models.posterior import LOG_2PI, DiagonalGaussian

#: Rows of the (images × images) matrix of log densities in memory at a time: 20 MB for 10,000 images.
_ROWS = 256


@dataclass(frozen=True)
class Surgery:
    """mean KL(q(z|x) ‖ p(z)) = I(x; z) + KL(q(z) ‖ p(z)), all in nats."""

    mutual_information: float
    """I(x; z) between the index of an image and z, never above `cap`."""
    marginal_kl: float
    """KL(q(z) ‖ p(z)), q(z) the mixture of the posteriors of these images."""
    standard_error: float
    """Standard error of both, because one z per image is drawn."""
    cap: float
    """ln N: no z can contain more information about which of N images it came from."""


def elbo_surgery(
    mu: Float64[Tensor, "n latent"],
    logvar: Float64[Tensor, "n latent"],
    z: Float64[Tensor, "n latent"],
    *,
    mean_kl: float | None = None,
) -> Surgery:
    """Split the mean KL to the prior into mutual information and the divergence of the aggregate posterior.

    I(x; z) = E log q(z|x) / q(z) with q(z) = 1/N Σ_n q(z|x_n), estimated at one z of each image. Since q(z_n)
    includes q(z_n|x_n) / N, the estimate is at most ln N for any model. The mean KL has a closed form, so the
    two parts add up to it exactly.

    Args:
        mu: Posterior means.
        logvar: Log of the posterior variances, log σ² (not log σ).
        z: One draw from the posterior of each image.
        mean_kl: Mean KL to a learned prior, in nats; left out, that to N(0, I), in closed form.

    Source:
        Hoffman & Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence lower
        bound", NIPS workshop on advances in approximate Bayesian inference, equations 7 to 9.
    """
    posterior = DiagonalGaussian(mu=mu, logvar=logvar)
    precision = torch.exp(-logvar)
    weighted_mu = mu * precision
    # log q(z|x_m) as a polynomial in z, so that all pairs are two matrix products; float64, because
    # mu² / σ² may be 1e5 where the sum is of order 1.
    constant = -0.5 * (LOG_2PI + logvar + mu * weighted_mu).sum(dim=-1)
    log_qz = torch.cat(
        [
            torch.logsumexp(constant + rows @ weighted_mu.T - 0.5 * rows.square() @ precision.T, dim=-1)
            for rows in torch.split(z, _ROWS)
        ]
    ) - math.log(len(mu))
    information = posterior.log_prob(z) - log_qz
    mutual_information = information.mean().item()
    if mean_kl is None:
        mean_kl = posterior.kl_to_standard_normal().mean().item()
    return Surgery(
        mutual_information=mutual_information,
        marginal_kl=mean_kl - mutual_information,
        standard_error=(information.std(correction=0) / math.sqrt(len(mu))).item(),
        cap=math.log(len(mu)),
    )
