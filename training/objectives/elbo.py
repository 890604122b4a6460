"""The evidence lower bound, its parts, and a tighter bound; one value per example, in nats.

Knows models, images and β. Knows nothing of optimisers, epochs or Lightning.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.models.posterior import DiagonalGaussian, standard_normal_log_prob
from training.models.vae import LatentImageModel
from training.randomness.noise import Source


@dataclass(frozen=True)
class ObjectiveTerms:
    """The two costs of each example, and the bound that they form."""

    reconstruction_nll: Float[Tensor, " batch"]
    """-log p(x|z), summed over pixels: for one z drawn from the posterior, or the mean over several."""
    kl: Float[Tensor, " batch"]
    """KL(q(z|x) ‖ p(z)), summed over latent dimensions; zero for an autoencoder."""
    beta: float
    """Weight of the KL term in `weighted_elbo`."""
    importance_bound: Float[Tensor, " batch"] | None = None
    """The importance-weighted bound of the same draws; None for one z, whose bound is the ELBO."""

    @property
    def elbo(self) -> Float[Tensor, " batch"]:
        """E_q[log p(x|z)] - KL(q(z|x) ‖ p(z)), estimated with one z; rises as models improve.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, equations 3 and 7.
        """
        return -self.reconstruction_nll - self.kl

    @property
    def weighted_elbo(self) -> Float[Tensor, " batch"]:
        """The bound with β on its KL term, which training maximises. The ELBO itself when β = 1.

        Source:
            Higgins et al. 2017 (β-VAE), openreview Sy2fzU9gl, equation 4; with β rising from 0 as
            in Sønderby et al. 2016, arXiv:1602.02282, section 2.2 ("Warm-up from deterministic to
            variational autoencoder").
        """
        return -self.reconstruction_nll - self.beta * self.kl

    @property
    def loss(self) -> Float[Tensor, ""]:
        """The loss that the optimiser minimises: the mean over examples, in nats per image.

        Minus the weighted ELBO or, with several draws, minus the mean of it and of their importance-weighted
        bound. The latter alone would neglect the posterior of a single draw, and `encode` returns that
        posterior to users.

        Source:
            Rainforth et al. 2018, arXiv:1802.04537, section 5 (CIWAE), with both weights 1/2.
        """
        if self.importance_bound is None:
            return -self.weighted_elbo.mean()
        return -0.5 * (self.weighted_elbo + self.importance_bound).mean()


def elbo_terms(
    model: LatentImageModel,
    x: Float[Tensor, "batch channel height width"],
    *,
    seen: Float[Tensor, "batch channel height width"] | None = None,
    beta: float = 1.0,
    samples: int = 1,
    generator: Source = None,
) -> ObjectiveTerms:
    """encode → sample → decode → cost.

    K samples per image also yield their importance-weighted bound, log 1/K Σ p(x|z_k) p(z_k) / q(z_k|x), for
    any β.

    Args:
        model: VAE or autoencoder.
        x: The images whose likelihood is bounded.
        seen: The encoder's input instead of `x`. The bound on log p(x) holds for any dependence of q; it is
            only less tight if q has less information.
        beta: Weight of the KL term in the loss.
        samples: K, the draws per image; each is decoded. An autoencoder has one.
        generator: Source of the posterior noise.

    Source:
        Burda et al. 2015, arXiv:1509.00519, equation 8 (the importance-weighted bound).
    """
    posterior = model.encode(x if seen is None else seen)
    if samples == 1:
        z = model.sample_posterior(posterior, generator=generator)
        log_px_z = model.likelihood.log_prob(x, model.decode_params(z))
        return ObjectiveTerms(reconstruction_nll=-log_px_z, kl=model.divergence(posterior), beta=beta)
    # Draws of the same image are adjacent, so that processes that share a batch also share its noise.
    drawn = DiagonalGaussian(
        mu=posterior.mu.repeat_interleave(samples, dim=0),
        logvar=posterior.logvar.repeat_interleave(samples, dim=0),
    )
    z = model.sample_posterior(drawn, generator=generator)
    log_px_z = model.likelihood.log_prob(x.repeat_interleave(samples, dim=0), model.decode_params(z))
    log_weights = log_px_z + standard_normal_log_prob(z) - drawn.log_prob(z)
    return ObjectiveTerms(
        reconstruction_nll=-log_px_z.view(-1, samples).mean(dim=1),
        kl=model.divergence(posterior),
        beta=beta,
        importance_bound=torch.logsumexp(log_weights.view(-1, samples), dim=1) - math.log(samples),
    )


def beta_at(step: int, *, beta: float, warmup_steps: float) -> float:
    """The KL weight of a step counted from 0: linear from 0 to `beta`, then constant.

    Source:
        Sønderby et al. 2016, arXiv:1602.02282, section 2.2 (warm-up).
    """
    return beta if step >= warmup_steps else beta * step / warmup_steps
