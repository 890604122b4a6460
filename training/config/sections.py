"""The sections of a recipe on images, objective, optimiser, trainer, evaluation and expected figures.

Know words, numbers and their bounds. Every section rejects unknown keys and does not coerce.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from model_store import InvalidReference, ModelReference
from model_store.echo import echo
from training.randomness.seeds import MAX_SEED

#: Longest side of an image.
MAX_SIDE = 256
Positive = Annotated[float, Field(gt=0.0, le=1e6, allow_inf_nan=False)]


def _count_or_share(value: object) -> object:
    count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000
    if not count and not (isinstance(value, float) and 0.0 < value < 1.0):
        raise ValueError(
            "data.validation_size: expected a whole number from 1 to 1000000, or a share between 0 and 1, "
            f"got {echo(str(value))}"
        )
    return value


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
