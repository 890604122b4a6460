"""One frozen configuration per run, read from a recipe (TOML): all options of training.

Knows words, numbers and their bounds. Knows nothing of torch, and needs no torch. Every section rejects
unknown keys and does not coerce. `training.config.messages` turns a mistake into a `ConfigError` that names
the file, the key, the expected and the actual value.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from model_store import InvalidReference, LabelDraws, ModelReference
from model_store.echo import did_you_mean, echo
from model_store.numbers import told_apart
from training.config.messages import explain
from training.errors import ConfigError
from training.randomness.seeds import MAX_SEED

#: Longest side of an image, and longest side that a fully connected layer of a trunk may see.
MAX_SIDE, MAX_DENSE_SIDE = 256, 64
Positive = Annotated[float, Field(gt=0.0, le=1e6, allow_inf_nan=False)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Stages = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=5)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]


def _count_or_share(value: object) -> object:
    count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000
    if not count and not (isinstance(value, float) and 0.0 < value < 1.0):
        raise ValueError(
            "data.validation_size: expected a whole number from 1 to 1000000, or a share between 0 and 1, "
            f"got {echo(str(value))}"
        )
    return value


def _count_or_counts(value: object, info: ValidationInfo) -> int | tuple[int, ...]:
    """One number of blocks for all stages, or one number per stage: from 0 to 32 each."""
    counts: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 32 for n in counts):
        raise ValueError(
            f"model.trunk.{info.field_name}: expected a whole number from 0 to 32, or a list of such "
            f"numbers, one per stage, got {echo(str(value))}"
        )
    return value if isinstance(value, int) else tuple(counts)


def _names_a_number(text: str) -> bool:
    try:
        return ModelReference.parse(text).version is not None
    except InvalidReference:
        return False


def _numbered_version(value: object) -> object:
    if value != "" and not (isinstance(value, str) and _names_a_number(value)):
        raise ValueError(
            f"trainer.start_from: expected name@number such as 'mnist@3', got {echo(str(value))}; "
            "--start-from also accepts an alias"
        )
    return value


# Checked first, so that an error is reported once and not for each kind of the union.
Blocks = Annotated[int | tuple[int, ...], BeforeValidator(_count_or_counts)]


class Section(BaseModel):
    """Frozen, no unknown keys, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class DataConfig(Section):
    """The training images, and the meaning of their grey levels."""

    dataset: Literal["mnist", "given"] = "mnist"
    """Data set without `--data`. `mnist`: the original, downloaded once. `given`: none; `--data` must name
    the images."""
    side: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0
    """For image files: scale the middle square to this many pixels a side, at least 8. With 0 the images keep
    their size, which must be the same for all."""
    channels: Literal[0, 1, 3] = 0
    """For image files: 1 converts colour to grey, 3 converts grey to colour. With 0 the images stay as they
    are, and must be all grey or all in colour."""
    ground: Literal["black", "white"] = "black"
    """For image files: the colour under transparent pixels. Black ink on transparent paper needs `white`."""
    validation_size: Annotated[int | float, PlainValidator(_count_or_share)] = 5000
    """Training images held out for validation, chosen by their content and the seed: a number or, below 1, a
    share. The test images serve the final evaluation only."""
    binarisation: Literal["dynamic", "grey"] = "dynamic"
    """`dynamic`: draw each pixel from Bernoulli(grey level), anew in every batch. `grey`: keep the grey
    levels."""
    grey_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of each batch that the encoder sees in grey while the target stays binarised. The bound holds for
    any q, so also for a q that sees the grey image; this trains `encode` for images that are not
    binarised."""
    distorted_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of each batch that is rotated, scaled, sheared and shifted slightly, anew every time. It prevents
    memorisation in training on few images or for long."""
    distortion: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    """Strength of the distortions: 1 has standard deviations of 5 degrees, 5 % of each axis and half a pixel
    of 28."""
    distorted_part: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    """First part of the training, with distortions; the rest, at low learning rates, uses the images as they
    are."""


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


class ObjectiveConfig(Section):
    """-ELBO with a weight on its KL term, or a mean of it and a tighter bound."""

    beta: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    """Weight of the KL term after the warm-up; 1 is the ELBO itself."""
    beta_warmup_epochs: Annotated[float, Field(ge=0.0, le=100_000.0)] = 0.0
    """Epochs over which the weight rises linearly from 0 to `beta`; 0 starts at `beta`."""
    importance_samples: Annotated[int, Field(ge=1, le=1000)] = 1
    """Posterior samples of each image in a step. With two or more, the objective is the mean of the ELBO and
    of their importance-weighted bound, which is nearer to the likelihood. The NLL improves, and the time
    grows, because each sample is decoded."""
    importance_part: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Last part of the training, with `importance_samples` draws per image; the rest draws one."""


class OptimiserConfig(Section):
    """The optimiser, with a linear warm-up and a cosine schedule that ends at the last step."""

    name: Literal["adamw", "muon"] = "adamw"
    """`adamw`: AdamW for all weights. `muon`: Muon for the matrices and kernels of the hidden layers, AdamW
    for biases and for the last layer of encoder and decoder."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-3
    """Highest learning rate of AdamW."""
    muon_learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    """Highest learning rate of Muon: the length of a step in every direction of a matrix."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Steps over which the learning rate rises linearly to its highest value."""
    final_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Learning rate of the last step, as a fraction of the highest; 1 keeps it constant."""
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    """Decoupled weight decay, in units of the learning rate; biases and scalars are exempt."""
    muon_weight_decay: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Weight decay of the weights under Muon, in units of its learning rate."""
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """Decay of AdamW's running squared gradient."""
    gradient_clip_norm: Positive = 100.0
    """Maximum norm of the gradient of the mean loss; larger gradients are scaled down to it."""


class TrainerConfig(Section):
    """Length and speed of a run, and its checkpoints."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Passes over the training images, or more with `min_steps_per_epoch`; the learning rate reaches its end
    with the last of them."""
    min_steps_per_epoch: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Fewest steps of an epoch: if the training images make fewer batches, an epoch continues with further
    passes over them, so that a small set is trained for as many steps as a large one. 0: always one pass."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Images per step; the last, incomplete batch of an epoch is dropped."""
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED + 1)] = 0
    """Seed of all random choices: initial weights, split, order, binarisation, noise."""
    start_from: Annotated[str, BeforeValidator(_numbered_version)] = ""
    """Published version, such as `mnist@3`, that provides the initial weights; if empty, they are random."""
    start_recipe: Annotated[str, Field(max_length=300)] = ""
    """Recipe, by name or path, that makes the version of `start_from`. With `fit --from-nothing` or without
    `start_from`, the run first trains by it, in its folder `start`, and goes on from those weights."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`bfloat16`: autocast. `auto`: `bfloat16` if the CPU computes in it, otherwise float32."""
    channels_last: bool = True
    """Memory layout of convolutions; about twice as fast together with bfloat16."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay per step of the exponential moving average of the weights, which is validated, evaluated and
    exported; 0 turns it off."""
    checkpoint_minutes: Annotated[float, Field(gt=0.0, le=10_000.0)] = 2.0
    """Maximum time between checkpoints; the end of every epoch also writes one."""
    pictures_every_epochs: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Epochs between reconstructions, samples and curves."""
    early_stopping_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Stop after this many epochs without a better validation -ELBO, and keep the weights of the best epoch.
    With 0 a run never stops early, and keeps the last weights."""


class EvaluationConfig(Section):
    """The figures at the end of a run, measured on the test images."""

    importance_samples: Annotated[int, Field(ge=1, le=100_000)] = 200
    """K of the importance-weighted bound on the log-likelihood."""
    importance_images: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Number of test images for the importance-weighted bound, chosen at random by the seed."""
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED + 1)] = 0
    """Seed of binarisation, noise and the choice of images."""


class Expectation(Section):
    """Figures that the recipe's author measured, printed at the start of a run."""

    minutes: Positive
    """Wall-clock time of `fit` with its final evaluation."""
    negative_elbo: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """-ELBO on the test images, nats per image."""
    reconstruction_nll: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Reconstruction cost on the test images, nats per image: for an autoencoder, which has no ELBO."""
    measured_on: Annotated[str, Field(min_length=1, max_length=300)]
    """Data and machine behind these figures."""

    @model_validator(mode="after")
    def _states_a_figure(self) -> Expectation:
        if self.negative_elbo is None and self.reconstruction_nll is None:
            raise ValueError("expect: expected negative_elbo or reconstruction_nll, got neither")
        return self


class RunConfig(Section):
    """The whole configuration of a run, except the images themselves."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
    """Name of the recipe."""
    description: Annotated[str, Field(max_length=1000)] = ""
    """Purpose of the recipe, in a sentence."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    expect: Expectation | None = None
    """Expected time and figures of this exact recipe; left out if unknown."""

    @model_validator(mode="after")
    def _sections_agree(self) -> RunConfig:
        """Reject combinations that make no sense although each key is in range."""
        if 0 < self.data.side < 8:
            raise ValueError(f"data.side: expected 0, or 8 to {MAX_SIDE} pixels; got {self.data.side}")
        if objection := self.model.objection_to_sides(self.data.side, self.data.side):
            raise ValueError(f"data.side: {objection}")
        if self.data.grey_fraction > 0.0 and self.data.binarisation == "grey":
            raise ValueError(
                "data.grey_fraction: expected 0 when data.binarisation is 'grey', where all images "
                f"are grey already; got {self.data.grey_fraction}"
            )
        if self.model.likelihood.name == "gaussian" and self.data.binarisation == "dynamic":
            raise ValueError(
                "data.binarisation: expected 'grey' with model.likelihood.name = 'gaussian', got "
                "'dynamic'; a Gaussian over zeros and ones does not model grey levels"
            )
        if self.objective.importance_samples > 1 and (self.model.kind, self.objective.beta) != ("vae", 1.0):
            raise ValueError(
                "objective.importance_samples: expected 1 unless model.kind = 'vae' and objective.beta = "
                "1, because the importance-weighted bound requires both; got "
                f"{self.objective.importance_samples}"
            )
        alone = (1.0 - self.objective.importance_part) * self.trainer.epochs
        if self.objective.importance_samples > 1 and self.objective.beta_warmup_epochs > alone:
            warmup = told_apart(self.objective.beta_warmup_epochs, float(f"{alone:g}"))
            raise ValueError(
                f"objective.beta_warmup_epochs: expected at most {alone:g}, so that beta is 1 before the "
                f"last objective.importance_part of the epochs; got {warmup}"
            )
        if self.model.kind == "ae" and self.objective.beta_warmup_epochs > 0.0:
            raise ValueError(
                "objective.beta_warmup_epochs: expected 0 with model.kind = 'ae', which has no KL term; "
                f"got {self.objective.beta_warmup_epochs}"
            )
        if self.model.kind == "ae" and self.model.is_spatial:
            raise ValueError(
                "model.kind: expected 'vae' with model.trunk.latents = 'spatial', because the codes of an "
                "autoencoder have no density that could be fitted to thousands of latents; got 'ae'. A small "
                "objective.beta reconstructs as well"
            )
        if isinstance(self.model.prior, LearnedPriorConfig):
            self._check_learned_prior(self.model.prior)
        return self

    def _check_learned_prior(self, prior: LearnedPriorConfig) -> None:
        if self.model.kind == "ae":
            raise ValueError(
                "model.prior.name: expected 'standard' with model.kind = 'ae', which has no prior; got "
                "'learned'"
            )
        if self.model.is_spatial:
            raise ValueError(
                "model.prior.name: expected 'standard' with model.trunk.latents = 'spatial', whose latents "
                "are too many for couplings between all of them; got 'learned'"
            )
        if prior.couplings > 0 and self.model.latent_size == 1:
            raise ValueError(
                "model.prior.couplings: expected 0 with model.latent_size = 1, because a coupling changes "
                f"some latents by others; got {prior.couplings}"
            )
        gaussians = prior.components * max(1, prior.labels)
        if gaussians > 1000:
            raise ValueError(
                "model.prior.components: expected at most 1000 Gaussians in all, which is the components of "
                f"each label times the labels; got {gaussians}"
            )

    def decisive(self) -> RunConfig:
        """The configuration without the texts that change no run."""
        without: dict[str, object] = {"description": "", "expect": None}
        if self.trainer.start_from:  # then the recipe behind that version is only told
            without["trainer"] = self.trainer.model_copy(update={"start_recipe": ""})
        return self.model_copy(update=without)

    @property
    def first_part(self) -> str:
        """The recipe that this run trains by first; empty if it has none."""
        return "" if self.trainer.start_from else self.trainer.start_recipe

    def to_json(self) -> str:
        """The whole configuration, defaults included, for the run directory."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "config.json") -> RunConfig:
        """Read the output of `to_json`.

        Raises:
            ConfigError: It is not JSON, or not a configuration of this version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(explain(error, cls, where=where)) from error


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = resources.files("training").joinpath("recipes")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_recipe(name_or_path: str | Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a recipe of the package, by name, or any TOML file, by path.

    Args:
        name_or_path: `quick`, or `my/recipe.toml`; any text that ends in `.toml` is a path.
        overrides: `section.key=value` pairs that replace the recipe's, with values in TOML syntax; a bare
            word is a string. A new kind of trunk or likelihood drops the recipe's keys of the old kind, and
            the new kind's other keys have their defaults.

    Raises:
        ConfigError: The recipe does not exist, is not TOML, or has an invalid key or value.
    """
    where, text = _read_recipe(str(name_or_path))
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: expected TOML, got a syntax error: {error}.") from error
    if overrides:
        where = f"{where} with --set"
        # The expected figures belong to the unchanged recipe, not to a changed one.
        raw.pop("expect", None)
    for override in overrides:
        _switch(raw, override)
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, where=where)


def with_overrides(config: RunConfig, overrides: Sequence[str], *, where: str) -> RunConfig:
    """The same configuration with some values replaced, as by `load_recipe`.

    Raises:
        ConfigError: A key or value is invalid.
    """
    raw = config.model_copy(update={"expect": None}).model_dump(mode="json")
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, where=f"{where} with --set")


def parse_config(raw: Mapping[str, Any], *, where: str) -> RunConfig:
    """Validate a nested mapping from TOML.

    Raises:
        ConfigError: A key or value is invalid; the message contains up to ten reasons.
    """
    try:
        # Through JSON: its strict mode accepts an array for a tuple, and coerces nothing else.
        return RunConfig.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, where=where)) from error


def _read_recipe(name_or_path: str) -> tuple[str, str]:
    if name_or_path.endswith(".toml"):
        try:
            return name_or_path, Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name_or_path}: expected a readable TOML file, got: {error}.") from error
    if name_or_path not in recipe_names():
        hint = did_you_mean(name_or_path, recipe_names())
        raise ConfigError(
            f"--recipe: {echo(name_or_path)}: no such recipe. Expected one of "
            f"{', '.join(recipe_names())}, or a path that ends in .toml. {hint}".rstrip()
        )
    file = resources.files("training").joinpath("recipes", f"{name_or_path}.toml")
    return f"recipes/{name_or_path}.toml", file.read_text(encoding="utf-8")


#: Keys that select the other keys of their section.
SWITCHES = ("model.trunk.type", "model.likelihood.name", "model.prior.name")


def _switch(raw: dict[str, Any], override: str) -> None:
    """Empty a section of the recipe if `--set` selects another kind, which does not have its keys."""
    path, equals, text = override.partition("=")
    if not equals or path.strip() not in SWITCHES:
        return
    *outer, name, key = path.strip().split(".")
    for part in outer:
        raw = raw.get(part, {})
        if not isinstance(raw, dict):
            return  # the application of the override reports the reason
    section = raw.get(name)
    if isinstance(section, dict) and section.get(key) != text.strip().strip("\"'"):
        raw[name] = {}


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for key in keys[:-1]:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set: {override!r} sets a key inside {key!r}, which is a value and not a section."
            )
        raw = inner
    raw[keys[-1]] = value
