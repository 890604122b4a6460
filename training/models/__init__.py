"""Models: posterior, likelihoods, networks, and the two kinds built from them.

`build_model` is the only place that turns a recipe's words into layers.
"""

from math import prod

from torch import nn

from training.config.model_section import GaussianConfig, LearnedPriorConfig, MLPTrunk, ModelConfig
from training.errors import ConfigError
from training.models.autoencoder import AutoEncoder
from training.models.likelihoods import Bernoulli, Gaussian, Likelihood
from training.models.networks import (
    ImageShape,
    ResidualDecoder,
    ResidualEncoder,
    SpatialDecoder,
    SpatialEncoder,
    halved,
    mlp_decoder,
    mlp_encoder,
)
from training.models.posterior import DiagonalGaussian
from training.models.priors import LabelledPrior, LearnedPrior, Prior, StandardNormal
from training.models.vae import VAE, LatentImageModel

__all__ = [
    "VAE",
    "AutoEncoder",
    "Bernoulli",
    "DiagonalGaussian",
    "Gaussian",
    "LabelledPrior",
    "LatentImageModel",
    "LearnedPrior",
    "Likelihood",
    "Prior",
    "StandardNormal",
    "build_model",
    "latent_shape_of",
    "latents_in_words",
]

#: The most latents that a manifest may state.
_MAX_LATENTS = 65_536


def build_model(config: ModelConfig, image_shape: ImageShape) -> VAE | AutoEncoder:
    """A freshly initialised model for images of `image_shape` (channels, height, width).

    Initial weights come from torch's global generator: seed it first.

    Raises:
        ConfigError: Spatial latents of such images are too many.
    """
    model_class: type[VAE] | type[AutoEncoder]
    # Mean and log variance of each latent, or the code alone.
    model_class, numbers_per_latent = (VAE, 2) if config.kind == "vae" else (AutoEncoder, 1)
    latent_shape = latent_shape_of(config, image_shape)
    encoder, decoder = _trunks(config, image_shape, encoder_outputs=numbers_per_latent * config.latent_size)
    return model_class(
        encoder=encoder,
        decoder=decoder,
        likelihood=_likelihood(config),
        image_shape=image_shape,
        latent_size=prod(latent_shape),
        latent_shape=latent_shape,
        logvar_bounds=(config.logvar_min, config.logvar_max),
        prior=_prior(config, prod(latent_shape)),
    )


def latent_shape_of(config: ModelConfig, image_shape: ImageShape) -> tuple[int, ...]:
    """Shape of z: (latent_size,), or with spatial latents (latent_size, h, w).

    Raises:
        ConfigError: Spatial latents of such images are too many.
    """
    trunk = config.trunk
    if isinstance(trunk, MLPTrunk) or trunk.latents == "flat":
        return (config.latent_size,)
    stages = len(trunk.encoder_channels)
    shape = (config.latent_size, *(halved(side, stages) for side in image_shape[1:]))
    if prod(shape) > _MAX_LATENTS:
        raise ConfigError(
            f"model.latent_size: expected at most {_MAX_LATENTS:,} latents in all, got "
            f"{' × '.join(map(str, shape))} = {prod(shape):,}. Lower it, or add a stage to "
            "model.trunk.encoder_channels and decoder_channels."
        )
    return shape


def latents_in_words(shape: tuple[int, ...]) -> str:
    """`32 latents`, or with spatial latents `4 × 16 × 16 latents`."""
    return f"{' × '.join(map(str, shape))} latents"


def _trunks(
    config: ModelConfig, image_shape: ImageShape, *, encoder_outputs: int
) -> tuple[nn.Module, nn.Module]:
    trunk = config.trunk
    if isinstance(trunk, MLPTrunk):
        return (
            mlp_encoder(image_shape=image_shape, hidden=trunk.encoder_hidden, outputs=encoder_outputs),
            mlp_decoder(image_shape=image_shape, hidden=trunk.decoder_hidden, latent_size=config.latent_size),
        )
    if trunk.latents == "spatial":
        channels, height, width = latent_shape_of(config, image_shape)
        return (
            SpatialEncoder(
                image_shape=image_shape,
                channels=trunk.encoder_channels,
                blocks=trunk.blocks_of_encoder_stages,
                outputs=encoder_outputs,
            ),
            SpatialDecoder(
                image_shape=image_shape,
                channels=trunk.decoder_channels,
                blocks=trunk.blocks_of_decoder_stages,
                latent_shape=(channels, height, width),
            ),
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


def _prior(config: ModelConfig, latent_size: int) -> Prior:
    chosen = config.prior
    if isinstance(chosen, LearnedPriorConfig):
        return LearnedPrior(
            latent_size,
            couplings=chosen.couplings,
            hidden_width=chosen.hidden_width,
            components=chosen.components,
            labels=chosen.labels,
            label_draws=chosen.label_draws,
        )
    return StandardNormal(latent_size)
