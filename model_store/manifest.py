"""The manifest: what a published model version says about itself.

Knows names, shapes, digests and figures. Knows nothing of files on disk, ONNX or HTTP.
Every model here is strict (no coercion), frozen, and refuses unknown keys: a misspelt key is a
defect to be told, never a default to be guessed. `SPEC.md` says the same in MUST and MAY;
`manifest.schema.json` is generated from these classes and held equal by a test.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

#: The highest schema version that this package knows.
SCHEMA_VERSION = 3
#: A manifest states the lowest that has a word for all it holds, so that older releases read what they can.
_WITHOUT_FITTED_PRIOR, _WITH_FITTED_PRIOR, _WITH_PREPROCESSING = 1, 2, 3

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
GOLDEN_FILE = "golden.npz"
PRIOR_FILE = "prior.npz"
CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
#: What every version holds beside its manifest.
REQUIRED_FILES = (ENCODER_FILE, DECODER_FILE, GOLDEN_FILE, CARD_FILE)
#: What a version holds where its manifest says so. Nothing else may lie in its directory.
OPTIONAL_FILES = (PRIOR_FILE,)

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
ALIAS_PATTERN = r"^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$"

#: Not a Literal: `true` equals 1 and would pass for it.
SchemaVersion = Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
#: No label is longer, in characters; a request may ask for one by its text.
MAX_LABEL_CHARACTERS = 64
#: Of one mixture, and of all mixtures of a version together.
MAX_COMPONENTS = 1000
MAX_COMPONENTS_IN_ALL = 10_000

ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
#: Starts with a letter, so that `name@3` is always a version and never an alias.
AliasName = Annotated[str, Field(pattern=ALIAS_PATTERN)]
VersionNumber = Annotated[int, Field(ge=1, le=999_999_999)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4000)]
#: Any text without control characters that neither begins nor ends with a space.
Label = Annotated[
    str,
    Field(
        pattern=rf"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]{{0,{MAX_LABEL_CHARACTERS - 2}}}"
        r"[^\x00-\x20\x7f-\xa0])?$",
    ),
]
ComponentCount = Annotated[int, Field(ge=1, le=MAX_COMPONENTS)]


class StrictModel(BaseModel):
    """Frozen, no unknown keys, no coercion beyond what JSON itself needs (lists to tuples, dates)."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        # A default spares the publisher's code, never the file: what is published says everything.
        json_schema_serialization_defaults_required=True,
    )


class Preprocessing(StrictModel):
    """How a picture file becomes one image: the same in training and in serving.

    The orientation of EXIF comes first, then the ground of transparent pixels, `fit`, grey or colour, and
    `levels`. SPEC.md, section 13, has each step.
    """

    fit: Literal["crop", "stretch"]
    """`crop`: the largest middle part of the image's proportions is scaled. `stretch`: each axis is scaled by
    itself."""
    ground: Literal["black", "white"]
    """What transparent pixels become."""
    levels: Literal[256] | None
    """256: pixels are rounded to whole levels 0 to 255, as training keeps them. null: they are not."""


#: What served pictures went through before manifests stated it, and still do for those versions.
UNSTATED_PREPROCESSING = Preprocessing(fit="stretch", ground="black", levels=None)


class ImageSpec(StrictModel):
    """What one image is: channels first, real values within `range`."""

    shape: tuple[
        Annotated[int, Field(ge=1, le=16)],
        Annotated[int, Field(ge=1, le=1024)],
        Annotated[int, Field(ge=1, le=1024)],
    ]
    """(channels, height, width)."""
    range: tuple[FiniteFloat, FiniteFloat] = (0.0, 1.0)
    """Smallest and largest pixel value; this schema version knows [0, 1] only."""
    preprocessing: Annotated[
        Preprocessing, Field(exclude_if=lambda stated: stated == UNSTATED_PREPROCESSING)
    ] = UNSTATED_PREPROCESSING
    """From schema version 3 on. An earlier version has no such key and means `stretch`, `black` and null."""

    @model_validator(mode="after")
    def _preprocessing_is_stated_once(self) -> ImageSpec:
        if "preprocessing" in self.model_fields_set and self.preprocessing == UNSTATED_PREPROCESSING:
            raise ValueError("preprocessing: expected no key for what earlier versions mean without one")
        return self

    @model_validator(mode="after")
    def _range_is_the_unit_interval(self) -> ImageSpec:
        if self.range != (0.0, 1.0):
            raise ValueError(f"range: expected [0.0, 1.0], got {list(self.range)}")
        return self


class BernoulliLikelihood(StrictModel):
    """p(x|z) is a Bernoulli of each pixel; `x_hat` is its mean; the cost is cross-entropy."""

    name: Literal["bernoulli"] = "bernoulli"


class GaussianLikelihood(StrictModel):
    """p(x|z) is N(x_hat, sigma² I); the cost is squared error over 2 sigma², plus its normaliser."""

    name: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0.0, le=100.0, allow_inf_nan=False)]
    """Standard deviation of a pixel, in units of the pixel range."""
    learned: bool
    """True when sigma was fitted with the weights, false when the recipe stated it."""


Likelihood = Annotated[BernoulliLikelihood | GaussianLikelihood, Field(discriminator="name")]


class TensorSpec(StrictModel):
    """One input or output of a graph: float32, batch axis first and dynamic."""

    name: Literal["x", "mu", "logvar", "z", "x_hat"]
    dtype: Literal["float32"] = "float32"
    shape: tuple[Literal["batch"] | Annotated[int, Field(ge=1)], ...]
    """("batch", ...): the word for the dynamic axis, then the fixed sizes of one example."""


class GraphSpec(StrictModel):
    """One ONNX graph and the tensors it takes and gives."""

    file: Literal["encoder.onnx", "decoder.onnx"]
    opset: Annotated[int, Field(ge=13, le=64)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class GoldenSpec(StrictModel):
    """How closely a runtime must agree with the outputs recorded in `golden.npz`."""

    file: Literal["golden.npz"] = "golden.npz"
    latent_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-4
    """Largest absolute difference of any `mu` or `logvar`."""
    pixel_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-5
    """Largest absolute difference of any pixel of `x_hat`."""


class FileEntry(StrictModel):
    """Digest and size of one file, both checked before a byte of it is used."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1)]


class Metric(StrictModel):
    """A figure and how it was measured: a number without its protocol compares with nothing."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """Such as `negative_elbo`, `reconstruction_nll`, `kl`, `nll_iw`, `active_units`."""
    value: FiniteFloat
    unit: Literal["nats per image", "bits per dimension", "units", "ratio", "pixel value"]
    protocol: Text
    """Data, how many images and which, binarisation, samples K, seed: enough to repeat it."""


def _refuse_numbers_as_time(value: object) -> object:
    """pydantic reads 1 and "1" as a second after 1970; in a manifest either is a mistake."""
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}T", value)):
        return value
    raise ValueError("expected a time such as 2024-01-31T12:00:00+00:00")


class TrainingProvenance(StrictModel):
    """Where the weights came from: enough to train them again."""

    recipe: dict[str, JsonValue]
    """The whole configuration of the run, defaults included."""
    data: Text
    """Name and size of the training data."""
    data_fingerprint: Sha256
    """Digest over the decompressed training images, so that other data cannot pass for it."""
    libraries: dict[str, str]
    """Version of each library that shaped the numbers, by distribution name."""
    seed: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=0)]
    """Passes over the training data behind these weights."""
    git_revision: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}(?:-dirty)?|unknown)$")]
    created_at: Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_refuse_numbers_as_time)]
    """When the version was exported: ISO 8601 with its UTC offset."""


class StandardNormalPrior(StrictModel):
    """p(z) = N(0, I): the prior the objective was trained with."""

    name: Literal["standard"] = "standard"
    family: Literal["standard_normal"] = "standard_normal"


class LabelledMixture(StrictModel):
    """Which mixture belongs to a label."""

    label: Label
    components: ComponentCount
    share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
    """Share of the images that the prior was fitted to which bear this label."""


class FittedPrior(StrictModel):
    """Gaussian mixtures over z, fitted after training: one to all images, and one to those of each label.

    Their parameters lie in `prior.npz`, the mixture of all images first, then those of the labels in order.
    """

    name: Literal["fitted"] = "fitted"
    family: Literal["gaussian_mixture"] = "gaussian_mixture"
    file: Literal["prior.npz"] = "prior.npz"
    components: ComponentCount
    """Of the mixture of all images."""
    labels: Annotated[tuple[LabelledMixture, ...], Field(max_length=1000)]
    """Labels whose images can be asked for; empty where the images had none."""
    protocol: Text
    """What it was fitted to and how: data, draws, choice of the number of components, seed."""
    metrics: tuple[Metric, ...]
    """How well it describes images that it was not fitted to."""

    @property
    def component_counts(self) -> tuple[int, ...]:
        """Components of each mixture, in the order of `prior.npz`."""
        return (self.components, *(each.components for each in self.labels))

    @model_validator(mode="after")
    def _labels_are_distinct_and_components_bounded(self) -> FittedPrior:
        if len({each.label for each in self.labels}) != len(self.labels):
            raise ValueError("labels: expected each label once")
        if sum(self.component_counts) > MAX_COMPONENTS_IN_ALL:
            raise ValueError(
                f"components: expected at most {MAX_COMPONENTS_IN_ALL} in all mixtures together, "
                f"got {sum(self.component_counts)}"
            )
        return self


Prior = Annotated[StandardNormalPrior | FittedPrior, Field(discriminator="name")]
#: Names of the priors that a version may list, in order.
_PRIORS_BY_KIND = {"vae": (("standard",), ("standard", "fitted")), "ae": ((), ("fitted",))}


class ManifestDraft(StrictModel):
    """All that a publisher knows before the store has given the version its number."""

    schema_version: SchemaVersion = _WITHOUT_FITTED_PRIOR
    """The lowest that has a word for all that is stated here: 3 with `image.preprocessing`, else 2 with a
    fitted prior, else 1."""
    name: ModelName
    kind: Literal["vae", "ae"]
    """`ae` is deterministic: its encoder's `logvar` has no meaning, and it has no prior that was trained."""
    description: Text
    image: ImageSpec
    latent_size: Annotated[int, Field(ge=1, le=65_536)]
    likelihood: Likelihood
    encoder: GraphSpec
    decoder: GraphSpec
    golden: GoldenSpec = GoldenSpec()
    metrics: tuple[Metric, ...]
    provenance: TrainingProvenance
    priors: tuple[Prior, ...]
    """Densities over z to sample from: a vae's `standard`, and `fitted` where one was fitted later."""
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    """SPDX expression for the weights."""

    @model_validator(mode="after")
    def _tensors_follow_from_image_and_latent_size(self) -> ManifestDraft:
        """The names and shapes are fixed by the contract; a manifest may not lie about them."""
        image = ("batch", *self.image.shape)
        latent = ("batch", self.latent_size)
        expected = {
            "encoder": (ENCODER_FILE, {"x": image}, {"mu": latent, "logvar": latent}),
            "decoder": (DECODER_FILE, {"z": latent}, {"x_hat": image}),
        }
        for role, (file, inputs, outputs) in expected.items():
            graph: GraphSpec = getattr(self, role)
            if graph.file != file:
                raise ValueError(f"{role}.file: expected {file!r}, got {graph.file!r}")
            for side, wanted, got in (
                ("inputs", inputs, graph.inputs),
                ("outputs", outputs, graph.outputs),
            ):
                stated = {tensor.name: tensor.shape for tensor in got}
                if stated != wanted or len(got) != len(wanted):
                    raise ValueError(
                        f"{role}.{side}: expected {wanted} from image.shape and latent_size, got {stated}"
                    )
        return self

    @model_validator(mode="after")
    def _priors_fit_the_kind_and_the_schema_version(self) -> ManifestDraft:
        names = tuple(prior.name for prior in self.priors)
        allowed = _PRIORS_BY_KIND[self.kind]
        if names not in allowed:
            raise ValueError(
                f"priors: expected {' or '.join(str(list(each)) for each in allowed)} "
                f"for kind {self.kind!r}, got {list(names)}"
            )
        wanted = lowest_schema_version(self.image, fitted=self.fitted_prior is not None)
        if self.schema_version != wanted:
            raise ValueError(
                f"schema_version: expected {wanted}, the lowest that knows these priors and this "
                f"preprocessing, got {self.schema_version}"
            )
        return self

    @property
    def fitted_prior(self) -> FittedPrior | None:
        """What was fitted after training, if anything was."""
        return next((prior for prior in self.priors if isinstance(prior, FittedPrior)), None)

    @property
    def file_names(self) -> tuple[str, ...]:
        """What a version of this holds beside its manifest."""
        fitted = self.fitted_prior
        return REQUIRED_FILES if fitted is None else (*REQUIRED_FILES, fitted.file)

    def with_fitted_prior(self, fitted: FittedPrior) -> ManifestDraft:
        """The draft of the same graphs with this prior, in place of one that it may have had."""
        stated = {name: getattr(self, name) for name in ManifestDraft.model_fields}
        priors = (*(prior for prior in self.priors if prior.name != fitted.name), fitted)
        version = lowest_schema_version(self.image, fitted=True)
        return ManifestDraft(**{**stated, "priors": priors, "schema_version": version})


class Manifest(ManifestDraft):
    """`manifest.json` of one published, immutable version."""

    version: VersionNumber
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], FileEntry]
    """Every file of the version except the manifest itself."""
    manifest_sha256: Sha256
    """Digest of `manifest.json` itself, taken with these 64 digits written as zeros."""

    @model_validator(mode="after")
    def _files_are_the_required_ones(self) -> Manifest:
        expected = self.file_names
        missing = sorted(set(expected) - set(self.files))
        unknown = sorted(set(self.files) - set(expected))
        if missing or unknown:
            raise ValueError(
                f"files: missing {missing}, unknown {unknown}; expected exactly {list(expected)}"
            )
        return self


def lowest_schema_version(image: ImageSpec, *, fitted: bool) -> int:
    """The schema version that a manifest of such images states, with a fitted prior or without."""
    if image.preprocessing != UNSTATED_PREPROCESSING:
        return _WITH_PREPROCESSING
    return _WITH_FITTED_PRIOR if fitted else _WITHOUT_FITTED_PRIOR


def graph_specs(
    *, image_shape: tuple[int, int, int], latent_size: int, opset: int
) -> tuple[GraphSpec, GraphSpec]:
    """The (encoder, decoder) specs that the contract fixes for this image shape and latent size."""
    image: tuple[Literal["batch"] | int, ...] = ("batch", *image_shape)
    latent: tuple[Literal["batch"] | int, ...] = ("batch", latent_size)
    encoder = GraphSpec(
        file="encoder.onnx",
        opset=opset,
        inputs=(TensorSpec(name="x", shape=image),),
        outputs=(TensorSpec(name="mu", shape=latent), TensorSpec(name="logvar", shape=latent)),
    )
    decoder = GraphSpec(
        file="decoder.onnx",
        opset=opset,
        inputs=(TensorSpec(name="z", shape=latent),),
        outputs=(TensorSpec(name="x_hat", shape=image),),
    )
    return encoder, decoder
