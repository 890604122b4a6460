"""The approximate posterior q(z|x): a Gaussian with a mean and a log variance per latent dimension.

Knows tensors, nats and the standard-normal prior. Knows nothing of images or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.randomness.noise import Source, standard_normal

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mu, diag(exp(logvar))) for each example of a batch.

    Two numbers per latent dimension describe a region, whereas an autoencoder has a point. `logvar` is log σ²
    (not log σ): σ = exp(0.5 · logvar) is positive for any output of a network.
    """

    mu: Float[Tensor, "batch latent"]
    logvar: Float[Tensor, "batch latent"]

    @property
    def sigma(self) -> Float[Tensor, "batch latent"]:
        """Standard deviation, σ = exp(0.5 · log σ²)."""
        return torch.exp(0.5 * self.logvar)

    def rsample(
        self,
        *,
        eps: Float[Tensor, "batch latent"] | None = None,
        generator: Source = None,
    ) -> Float[Tensor, "batch latent"]:
        """One z per example by the reparameterisation trick, z = mu + σ · eps.

        The gradient reaches mu and logvar because the noise does not depend on them.

        Args:
            eps: Standard-normal noise; drawn here if left out.
            generator: Source of the noise if `eps` is left out; `None` is torch's global generator.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, section 2.4 and equation 10.
        """
        if eps is None:
            eps = standard_normal(self.mu.shape, generator, device=self.mu.device).to(self.mu.dtype)
        return self.mu + self.sigma * eps

    def repeated(self, times: int) -> DiagonalGaussian:
        """Each example's Gaussian `times` times, adjacent."""
        return DiagonalGaussian(
            mu=self.mu.repeat_interleave(times, dim=0), logvar=self.logvar.repeat_interleave(times, dim=0)
        )

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """log q(z|x) in nats, summed over latent dimensions.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, section 3, equation 9 (a Gaussian with diagonal
            covariance).
        """
        scaled = (z - self.mu).square() * torch.exp(-self.logvar)
        return -0.5 * (LOG_2PI + self.logvar + scaled).sum(dim=-1)

    def entropy(self) -> Float[Tensor, " batch"]:
        """-E_q[log q(z|x)] in nats, summed over latent dimensions: independent of mu."""
        return 0.5 * (1.0 + LOG_2PI + self.logvar).sum(dim=-1)

    def kl_per_dimension(self) -> Float[Tensor, "batch latent"]:
        """KL(q(z_j|x) ‖ N(0, 1)) of each latent dimension, in nats, always >= 0.

        Written with expm1, so that rounding neither removes the divergence of a posterior close to the prior
        nor makes it negative.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, appendix B (sign flipped: the paper states -KL).
        """
        return 0.5 * (self.mu.square() + (torch.expm1(self.logvar) - self.logvar))

    def kl_to_standard_normal(self) -> Float[Tensor, " batch"]:
        """KL(q(z|x) ‖ p(z)) for p(z) = N(0, I), in nats, summed over latent dimensions.

        Never averaged over the batch: the caller decides how. Zero exactly when mu = 0 and
        logvar = 0.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, appendix B (sign flipped: the paper states -KL).
        """
        return self.kl_per_dimension().sum(dim=-1)


def standard_normal_log_prob(z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
    """log p(z) in nats under the prior N(0, I), summed over latent dimensions.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, section 3 (the prior of the example).
    """
    return -0.5 * (LOG_2PI + z.square()).sum(dim=-1)
