"""Models: posterior, likelihoods, networks, and the two kinds built from them.

`build_model` is the only place that turns a recipe's words into layers.
"""

from torch import nn

from training.config.recipe import GaussianConfig, LearnedPriorConfig, MLPTrunk, ModelConfig
from training.models.autoencoder import AutoEncoder
from training.models.likelihoods import Bernoulli, Gaussian, Likelihood
from training.models.networks import (
    ImageShape,
    ResidualDecoder,
    ResidualEncoder,
    mlp_decoder,
    mlp_encoder,
)
from training.models.posterior import DiagonalGaussian
from training.models.priors import LearnedPrior, Prior, StandardNormal
from training.models.vae import VAE, LatentImageModel

__all__ = [
    "VAE",
    "AutoEncoder",
    "Bernoulli",
    "DiagonalGaussian",
    "Gaussian",
    "LatentImageModel",
    "LearnedPrior",
    "Likelihood",
    "Prior",
    "StandardNormal",
    "build_model",
]


def build_model(config: ModelConfig, image_shape: ImageShape) -> VAE | AutoEncoder:
    """A freshly initialised model for images of `image_shape` (channels, height, width).

    Initial weights come from torch's global generator: seed it first.
    """
    model_class: type[VAE] | type[AutoEncoder]
    # Mean and log variance of each latent, or the code alone.
    model_class, numbers_per_latent = (VAE, 2) if config.kind == "vae" else (AutoEncoder, 1)
    encoder, decoder = _trunks(config, image_shape, encoder_outputs=numbers_per_latent * config.latent_size)
    return model_class(
        encoder=encoder,
        decoder=decoder,
        likelihood=_likelihood(config),
        image_shape=image_shape,
        latent_size=config.latent_size,
        logvar_bounds=(config.logvar_min, config.logvar_max),
        prior=_prior(config),
    )


def _trunks(
    config: ModelConfig, image_shape: ImageShape, *, encoder_outputs: int
) -> tuple[nn.Module, nn.Module]:
    trunk = config.trunk
    if isinstance(trunk, MLPTrunk):
        return (
            mlp_encoder(image_shape=image_shape, hidden=trunk.encoder_hidden, outputs=encoder_outputs),
            mlp_decoder(image_shape=image_shape, hidden=trunk.decoder_hidden, latent_size=config.latent_size),
        )
    return (
        ResidualEncoder(
            image_shape=image_shape,
            channels=trunk.encoder_channels,
            blocks=trunk.blocks_of_encoder_stages,
            outputs=encoder_outputs,
        ),
        ResidualDecoder(
            image_shape=image_shape,
            channels=trunk.decoder_channels,
            blocks=trunk.blocks_of_decoder_stages,
            latent_size=config.latent_size,
        ),
    )


def _likelihood(config: ModelConfig) -> Likelihood:
    chosen = config.likelihood
    if isinstance(chosen, GaussianConfig):
        return Gaussian(sigma=chosen.sigma, learned=chosen.learned, sigma_min=chosen.sigma_min)
    return Bernoulli()


def _prior(config: ModelConfig) -> Prior:
    chosen = config.prior
    if isinstance(chosen, LearnedPriorConfig):
        return LearnedPrior(
            config.latent_size,
            couplings=chosen.couplings,
            hidden_width=chosen.hidden_width,
            components=chosen.components,
            labels=chosen.labels,
            label_draws=chosen.label_draws,
        )
    return StandardNormal(config.latent_size)
