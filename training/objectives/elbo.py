"""The evidence lower bound, its parts, and a tighter bound; one value per example, in nats.

Knows models, images and β. Knows nothing of optimisers, epochs or Lightning.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from training.models.priors import LearnedPrior, label_nll
from training.models.vae import LatentImageModel
from training.randomness.noise import Source


@dataclass(frozen=True)
class ObjectiveTerms:
    """The two costs of each example, and the bound that they form."""

    reconstruction_nll: Float[Tensor, " batch"]
    """-log p(x|z), summed over pixels: for one z drawn from the posterior, or the mean over several."""
    kl: Float[Tensor, " batch"]
    """KL(q(z|x) ‖ p(z)), summed over latent dimensions; zero for an autoencoder. A learned prior has only an
    estimate of it, from the same z."""
    beta: float
    """Weight of the KL term in `weighted_elbo`."""
    importance_bound: Float[Tensor, " batch"] | None = None
    """The importance-weighted bound of the same draws; None for one z, whose bound is the ELBO."""
    label_nll: Float[Tensor, " batch"] | None = None
    """-log p(y|z) under a learned prior with labels; None without."""
    label_weight: float = 0.0
    """Weight of `label_nll` in the loss."""

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
        posterior to users. A learned prior with labels adds the cost of the label: with the weight 1, the
        first becomes a bound on log p(x, y).

        Source:
            Rainforth et al. 2018, arXiv:1802.04537, section 5 (CIWAE), with both weights 1/2.
        """
        if self.importance_bound is None:
            loss = -self.weighted_elbo.mean()
        else:
            loss = -0.5 * (self.weighted_elbo + self.importance_bound).mean()
        return loss if self.label_nll is None else loss + self.label_weight * self.label_nll.mean()


def elbo_terms(
    model: LatentImageModel,
    x: Float[Tensor, "batch channel height width"],
    *,
    seen: Float[Tensor, "batch channel height width"] | None = None,
    beta: float = 1.0,
    samples: int = 1,
    labels: Int64[Tensor, " batch"] | None = None,
    label_weight: float = 0.0,
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
        labels: Labels of the images, for a learned prior with labels; None leaves out their cost.
        label_weight: Weight of that cost in the loss.
        generator: Source of the posterior noise.

    Source:
        Burda et al. 2015, arXiv:1509.00519, equation 8 (the importance-weighted bound).
    """
    posterior = model.encode(x if seen is None else seen)
    # Draws of the same image are adjacent, so that processes that share a batch also share its noise.
    drawn = posterior if samples == 1 else posterior.repeated(samples)
    z = model.sample_posterior(drawn, generator=generator)
    images = x if samples == 1 else x.repeat_interleave(samples, dim=0)
    log_px_z = model.likelihood.log_prob(images, model.decode_params(z))
    bound = None
    if samples > 1:
        log_weights = log_px_z + model.prior.log_prob(z) - drawn.log_prob(z)
        bound = torch.logsumexp(log_weights.view(-1, samples), dim=1) - math.log(samples)
    label_cost = None
    if labels is not None and isinstance(model.prior, LearnedPrior):
        label_cost = label_nll(model.prior, z, labels)
    return ObjectiveTerms(
        reconstruction_nll=-log_px_z if samples == 1 else -log_px_z.view(-1, samples).mean(dim=1),
        kl=model.divergence(posterior, z),
        beta=beta,
        importance_bound=bound,
        label_nll=label_cost,
        label_weight=label_weight,
    )


def beta_at(step: int, *, beta: float, warmup_steps: float) -> float:
    """The KL weight of a step counted from 0: linear from 0 to `beta`, then constant.

    Source:
        Sønderby et al. 2016, arXiv:1602.02282, section 2.2 (warm-up).
    """
    return beta if step >= warmup_steps else beta * step / warmup_steps
