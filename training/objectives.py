"""The evidence lower bound and its parts, one value per example, in nats.

Knows models, images and β. Knows nothing of optimisers, epochs or Lightning.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from training.models.vae import LatentImageModel
from training.noise import Source


@dataclass(frozen=True)
class ObjectiveTerms:
    """The two costs of each example, and the bound they make."""

    reconstruction_nll: Float[Tensor, " batch"]
    """-log p(x|z) for one z drawn from the posterior, summed over pixels."""
    kl: Float[Tensor, " batch"]
    """KL(q(z|x) ‖ p(z)), summed over latent dimensions; zero for an autoencoder."""
    beta: float
    """Weight of the KL term in `weighted_elbo`."""

    @property
    def elbo(self) -> Float[Tensor, " batch"]:
        """E_q[log p(x|z)] - KL(q(z|x) ‖ p(z)), estimated with one z; rises as models improve.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, equations 3 and 7.
        """
        return -self.reconstruction_nll - self.kl

    @property
    def weighted_elbo(self) -> Float[Tensor, " batch"]:
        """The bound with β on its KL term; what training maximises. The ELBO itself when β = 1.

        Source:
            Higgins et al. 2017 (β-VAE), openreview Sy2fzU9gl, equation 4; with β rising from 0 as
            in Sønderby et al. 2016, arXiv:1602.02282, section 2.2 ("Warm-up from deterministic to
            variational autoencoder").
        """
        return -self.reconstruction_nll - self.beta * self.kl

    @property
    def loss(self) -> Float[Tensor, ""]:
        """What the optimiser lowers: the mean over examples, in nats per image."""
        return -self.weighted_elbo.mean()


def elbo_terms(
    model: LatentImageModel,
    x: Float[Tensor, "batch channel height width"],
    *,
    seen: Float[Tensor, "batch channel height width"] | None = None,
    beta: float = 1.0,
    generator: Source = None,
) -> ObjectiveTerms:
    """encode → sample → decode → cost.

    Args:
        model: VAE or autoencoder.
        x: The images whose likelihood is bounded.
        seen: What the encoder looks at instead of `x`. The bound on log p(x) holds whatever q
            depends on; it is only less tight when q knows less.
        beta: Weight of the KL term in the loss.
        generator: Source of the posterior noise.
    """
    posterior = model.encode(x if seen is None else seen)
    z = model.sample_posterior(posterior, generator=generator)
    log_px_z = model.likelihood.log_prob(x, model.decode_params(z))
    return ObjectiveTerms(reconstruction_nll=-log_px_z, kl=model.divergence(posterior), beta=beta)


def beta_at(step: int, *, beta: float, warmup_steps: float) -> float:
    """The KL weight of a step counted from 0: linear from 0 to `beta`, then constant.

    Source:
        Sønderby et al. 2016, arXiv:1602.02282, section 2.2 (warm-up).
    """
    return beta if step >= warmup_steps else beta * step / warmup_steps
