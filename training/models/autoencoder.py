"""The plain autoencoder: the VAE's trunks without noise and without a prior.

Knows the model interface of `training.models.vae`. Knows no objective, no data and no training.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from training.models.posterior import DiagonalGaussian
from training.models.vae import LatentImageModel
from training.randomness.noise import Source


class AutoEncoder(LatentImageModel):
    """A point in latent space for every image; trained on reconstruction alone.

    It shares the VAE's interface, so that the same code trains, evaluates, exports and serves it. Its
    `logvar` is a constant without meaning: the lower bound of the recipe. It learns no density over z, so
    drawing z from N(0, I) generates nothing.

    Source:
        Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647 (deep autoencoder).
    """

    kind = "ae"

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> DiagonalGaussian:
        """The code as `mu`; `logvar` is constant."""
        mu: Tensor = self.encoder(x).float()
        return DiagonalGaussian(mu=mu, logvar=torch.full_like(mu, self.logvar_bounds[0]))

    def sample_posterior(
        self,
        posterior: DiagonalGaussian,
        *,
        generator: Source = None,  # noqa: ARG002  # the interface's; no noise here
    ) -> Float[Tensor, "batch latent"]:
        """The code itself."""
        return posterior.mu

    def divergence(
        self,
        posterior: DiagonalGaussian,
        z: Float[Tensor, "draw latent"],  # noqa: ARG002  # the interface's
    ) -> Float[Tensor, " batch"]:
        """Zero: it has no prior."""
        return torch.zeros_like(posterior.mu[:, 0])
