"""The variational autoencoder: an encoder, a decoder, and the interface of every model here.

Knows networks, posterior and likelihood. Knows no objective, no data and no training. The caller passes the
noise: neither `encode` nor `decode` draws any, so both export as deterministic graphs.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from training.models.likelihoods import Likelihood
from training.models.networks import ImageShape, soft_bound
from training.models.posterior import DiagonalGaussian
from training.models.priors import Prior, StandardNormal
from training.randomness.noise import Source


class LatentImageModel(nn.Module, ABC):
    """Encoder, decoder and likelihood; the kinds differ in the posterior and its use.

    ::

        x ── encode ──▶ q(z|x) = N(mu, exp(logvar)) ── sample_posterior ──▶ z ── decode ──▶ x_hat
    """

    kind: ClassVar[Literal["vae", "ae"]]

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        image_shape: ImageShape,
        latent_size: int,
        logvar_bounds: tuple[float, float],
        prior: Prior | None = None,
        latent_shape: tuple[int, ...] = (),
    ) -> None:
        """Assemble the parts; `training.models.build_model` makes them from a recipe.

        `latent_shape` is that of z in published graphs, flat if it is left out; here z is always flat, in C
        order. Without `prior` it is N(0, I), which an autoencoder never uses.
        """
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.image_shape = image_shape
        self.latent_size = latent_size
        self.latent_shape = latent_shape or (latent_size,)
        self.logvar_bounds = logvar_bounds
        self.prior = prior or StandardNormal(latent_size)

    @abstractmethod
    def encode(self, x: Float[Tensor, "batch channel height width"]) -> DiagonalGaussian:
        """q(z|x) of each image; x in [0, 1]."""

    @abstractmethod
    def sample_posterior(
        self, posterior: DiagonalGaussian, *, generator: Source = None
    ) -> Float[Tensor, "batch latent"]:
        """The z that training decodes: a draw for a VAE, the mean for an autoencoder."""

    @abstractmethod
    def divergence(
        self, posterior: DiagonalGaussian, z: Float[Tensor, "draw latent"]
    ) -> Float[Tensor, " batch"]:
        """The KL term of the objective, in nats per example; zero for an autoencoder.

        `z` are draws of `posterior`: as many for each example, those of one example adjacent.
        """

    def decode_params(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """The likelihood's raw parameters, one real number per pixel."""
        params: Tensor = self.decoder(z)
        return params

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """x_hat, the mean of p(x|z), in [0, 1]."""
        return self.likelihood.mean(self.decode_params(z))


class VAE(LatentImageModel):
    """A region in latent space for every image: mean and variance per dimension.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, section 3.
    """

    kind = "vae"

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> DiagonalGaussian:
        """q(z|x), with logvar held inside `logvar_bounds` by `soft_bound`."""
        mu, raw = self.encoder(x).float().chunk(2, dim=-1)
        low, high = self.logvar_bounds
        return DiagonalGaussian(mu=mu, logvar=soft_bound(raw, low=low, high=high))

    def sample_posterior(
        self, posterior: DiagonalGaussian, *, generator: Source = None
    ) -> Float[Tensor, "batch latent"]:
        """One reparameterised draw."""
        return posterior.rsample(generator=generator)

    def divergence(
        self, posterior: DiagonalGaussian, z: Float[Tensor, "draw latent"]
    ) -> Float[Tensor, " batch"]:
        """KL(q(z|x) ‖ p(z)): in closed form for N(0, I), estimated from the draws for a learned prior."""
        return self.prior.divergence(posterior, z)
