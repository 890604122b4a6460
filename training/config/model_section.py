"""The section `model` of a recipe: trunk, likelihood and prior, and which images they can take.

Knows words, numbers and their bounds. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from model_store import LabelDraws
from model_store.echo import echo
from training.config.sections import Section

#: Longest side that a fully connected layer of a trunk may see.
MAX_DENSE_SIDE = 64
Width = Annotated[int, Field(ge=1, le=65_536)]
Stages = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=5)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]


def _count_or_counts(value: object, info: ValidationInfo) -> int | tuple[int, ...]:
    """One number of blocks for all stages, or one number per stage: from 0 to 32 each."""
    counts: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 32 for n in counts):
        raise ValueError(
            f"model.trunk.{info.field_name}: expected a whole number from 0 to 32, or a list of such "
            f"numbers, one per stage, got {echo(str(value))}"
        )
    return value if isinstance(value, int) else tuple(counts)


# Checked first, so that an error is reported once and not for each kind of the union.
Blocks = Annotated[int | tuple[int, ...], BeforeValidator(_count_or_counts)]


class MLPTrunk(Section):
    """Fully connected encoder and decoder."""

    type: Literal["mlp"] = "mlp"
    encoder_hidden: Widths = (256, 256)
    """Width of each hidden layer, from the image inwards."""
    decoder_hidden: Widths = (512, 512)
    """Width of each hidden layer, from the latent outwards."""


class ResidualTrunk(Section):
    """Residual convolutions; each stage halves (encoder) or doubles (decoder) the sides."""

    type: Literal["residual"] = "residual"
    encoder_channels: Stages = (16, 32)
    """Feature maps of each stage, from the image inwards."""
    encoder_blocks: Blocks = 1
    """Residual blocks in each encoder stage: one number for all, or a list with one per stage, from the image
    inwards."""
    decoder_channels: Stages = (32, 64)
    """Feature maps of each stage, from the image inwards (the decoder applies them in reverse)."""
    decoder_blocks: Blocks = 2
    """Residual blocks in each decoder stage: one number for all, or a list with one per stage, from the image
    inwards like the channels."""
    latents: Literal["flat", "spatial"] = "flat"
    """`flat`: a fully connected layer joins the maps of the last stage and z. `spatial`: z has a position for
    each patch of the image, and no layer is fully connected; images above 64 pixels need it."""

    @model_validator(mode="after")
    def _one_count_a_stage(self) -> ResidualTrunk:
        for side in ("encoder", "decoder"):
            blocks, stages = getattr(self, f"{side}_blocks"), len(getattr(self, f"{side}_channels"))
            if not isinstance(blocks, int) and len(blocks) != stages:
                raise ValueError(
                    f"model.trunk.{side}_blocks: expected one number, or a list of {stages} like "
                    f"{side}_channels, got a list of {len(blocks)}"
                )
        if self.latents == "spatial" and len(self.encoder_channels) != len(self.decoder_channels):
            raise ValueError(
                "model.trunk.decoder_channels: expected as many stages as encoder_channels with latents = "
                f"'spatial', {len(self.encoder_channels)}, got {len(self.decoder_channels)}"
            )
        return self

    @property
    def blocks_of_encoder_stages(self) -> tuple[int, ...]:
        """Residual blocks of each encoder stage, from the image inwards."""
        return _for_each_stage(self.encoder_blocks, len(self.encoder_channels))

    @property
    def blocks_of_decoder_stages(self) -> tuple[int, ...]:
        """Residual blocks of each decoder stage, from the image inwards."""
        return _for_each_stage(self.decoder_blocks, len(self.decoder_channels))


def _for_each_stage(blocks: int | tuple[int, ...], stages: int) -> tuple[int, ...]:
    return (blocks,) * stages if isinstance(blocks, int) else blocks


class BernoulliConfig(Section):
    """Cross-entropy."""

    name: Literal["bernoulli"] = "bernoulli"


class GaussianConfig(Section):
    """Squared error in units of 2σ², with its normaliser."""

    name: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0.01, le=100.0)] = 0.1
    """Standard deviation of a pixel, in units of the pixel range. A learned σ starts here, or at the spread
    of the pixels if that is smaller."""
    learned: bool = False
    """Learn σ with the weights; it then stays above `sigma_min`."""
    sigma_min: Annotated[float, Field(ge=0.0005, le=0.01)] = 0.01
    """Lower bound of a learned σ. Images with few grey levels need a smaller one: one level of 255 is
    0.004."""


class StandardPriorConfig(Section):
    """N(0, I)."""

    name: Literal["standard"] = "standard"


class LearnedPriorConfig(Section):
    """A mixture of Gaussians behind invertible couplings, near N(0, I) at first, learned with the weights."""

    name: Literal["learned"] = "learned"
    couplings: Annotated[int, Field(ge=0, le=64)] = 8
    """Affine couplings (RealNVP) between z and the mixture; with 0 the prior is the mixture alone. Two for
    each binary digit of the latents' numbers let every latent depend on every other: 10 for 32 latents."""
    hidden_width: Annotated[int, Field(ge=1, le=4096)] = 128
    """Width of the two hidden layers of each coupling."""
    components: Annotated[int, Field(ge=1, le=1000)] = 8
    """Gaussians of each label, or of all images without labels."""
    labels: Annotated[int, Field(ge=0, le=1000)] = 0
    """Number of labels with Gaussians of their own, which must be those of the images; 0: none. `sample` then
    draws the images of a requested label."""
    label_weight: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    """Weight of -log p(y|z) in the loss, if the prior has labels: 1 maximises the bound on the likelihood of
    image and label together."""
    label_candidates: Annotated[int, Field(ge=1, le=64)] = 1
    """Largest number of draws for one image of a requested label, of which the first with enough p(y|z) is
    taken, or the best; 1: the first draw."""
    label_probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    """With several `label_candidates`: p(y|z) of the requested label from which on a draw is taken."""

    @property
    def label_draws(self) -> LabelDraws | None:
        """The rule for draws of a requested label; None: the first draw."""
        if self.label_candidates == 1 or self.labels < 2:
            return None
        return LabelDraws(candidates=self.label_candidates, probability=self.label_probability)


class ModelConfig(Section):
    """The model to fit."""

    kind: Literal["vae", "ae"] = "vae"
    """`vae`: variational autoencoder. `ae`: plain autoencoder, without noise and without KL."""
    latent_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Dimensions of z; of each position of z with `model.trunk.latents = "spatial"`."""
    logvar_min: Annotated[float, Field(ge=-30.0, le=0.0)] = -8.0
    """Lowest log σ² of the posterior (soft bound); an autoencoder's constant `logvar`."""
    logvar_max: Annotated[float, Field(gt=0.0, le=30.0)] = 2.0
    """Highest log σ² of the posterior (soft bound)."""
    trunk: Annotated[MLPTrunk | ResidualTrunk, Field(discriminator="type")] = ResidualTrunk()
    """Layers of encoder and decoder."""
    likelihood: Annotated[BernoulliConfig | GaussianConfig, Field(discriminator="name")] = BernoulliConfig()
    """p(x|z)."""
    prior: Annotated[StandardPriorConfig | LearnedPriorConfig, Field(discriminator="name")] = (
        StandardPriorConfig()
    )
    """p(z)."""

    @property
    def is_spatial(self) -> bool:
        """Whether z has positions."""
        return isinstance(self.trunk, ResidualTrunk) and self.trunk.latents == "spatial"

    def objection_to_sides(self, height: int, width: int) -> str | None:
        """The reason why these layers are unsuitable for images of this size, or None."""
        if self.is_spatial or max(height, width) <= MAX_DENSE_SIDE:
            return None
        return (
            f"expected at most {MAX_DENSE_SIDE} pixels with flat latents, whose layers would have millions "
            f"of weights, got {height} × {width}. Use --recipe pictures-spatial, set model.trunk.latents = "
            f"'spatial', or scale image files: --set data.side={MAX_DENSE_SIDE}"
        )
