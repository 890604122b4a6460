"""The manifest: the description of a published model version.

Knows names, shapes, digests and figures. Knows nothing of files on disk, ONNX or HTTP. Every model here is
strict (no coercion), frozen, and rejects unknown keys: a misspelt key is a defect to report, and never
becomes a default. `SPEC.md` states the same in MUST and MAY; `manifest.schema.json` is generated from these
classes, and a test compares them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from model_store.calibration import Calibration
from model_store.strict_model import FiniteFloat, Moment, StrictModel, Text, never_null

#: The highest schema version that this package knows.
SCHEMA_VERSION = 5
#: A manifest states the lowest version that can express its content, so that older releases can read it.
_WITHOUT_FITTED_PRIOR, _WITH_FITTED_PRIOR, _WITH_PREPROCESSING, _WITH_PREVIEW = 1, 2, 3, 4
_WITH_CALIBRATION = 5

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
GOLDEN_FILE = "golden.npz"
PRIOR_FILE = "prior.npz"
PREVIEW_FILE = "preview.npz"
CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
#: The files of every version, apart from its manifest.
REQUIRED_FILES = (ENCODER_FILE, DECODER_FILE, GOLDEN_FILE, CARD_FILE)
#: Optional files, which the manifest lists. No other file may be in the directory.
OPTIONAL_FILES = (PRIOR_FILE, PREVIEW_FILE)

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
ALIAS_PATTERN = r"^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$"

#: Not a Literal: `true` equals 1 and would pass for it.
SchemaVersion = Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
#: Maximum length of a label in characters; a request names a label by its text.
MAX_LABEL_CHARACTERS = 64
#: Limits of one mixture, and of all mixtures of a version together.
MAX_COMPONENTS = 1000
MAX_COMPONENTS_IN_ALL = 10_000
#: Limits of a preview: a map with more points is a blot, and a person recognises a thumbnail of this size.
MAX_PREVIEW_IMAGES = 500
MAX_THUMBNAIL_SIDE = 64

ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
#: It starts with a letter, so that `name@3` is always a version and never an alias.
AliasName = Annotated[str, Field(pattern=ALIAS_PATTERN)]
VersionNumber = Annotated[int, Field(ge=1, le=999_999_999)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Any text without control characters that neither begins nor ends with a space.
Label = Annotated[
    str,
    Field(
        pattern=rf"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]{{0,{MAX_LABEL_CHARACTERS - 2}}}"
        r"[^\x00-\x20\x7f-\xa0])?$",
    ),
]
ComponentCount = Annotated[int, Field(ge=1, le=MAX_COMPONENTS)]


class Preprocessing(StrictModel):
    """The conversion of an image file into one image: the same in training and in serving.

    The orientation of EXIF comes first, then the ground of transparent pixels, `fit`, grey or colour, and
    `levels`. SPEC.md, section 13, describes each step.
    """

    fit: Literal["crop", "stretch"]
    """`crop`: scale the largest middle part with the image's proportions. `stretch`: scale each axis
    separately."""
    ground: Literal["black", "white"]
    """The colour under transparent pixels."""
    levels: Literal[256] | None
    """256: pixels are rounded to whole levels 0 to 255, as training stores them. null: they are not
    rounded."""


#: The conversion of served images before manifests stated it, and still for those versions.
UNSTATED_PREPROCESSING = Preprocessing(fit="stretch", ground="black", levels=None)


class ImageSpec(StrictModel):
    """The form of one image: channels first, real values within `range`."""

    shape: tuple[
        Annotated[int, Field(ge=1, le=16)],
        Annotated[int, Field(ge=1, le=1024)],
        Annotated[int, Field(ge=1, le=1024)],
    ]
    """(channels, height, width)."""
    range: tuple[FiniteFloat, FiniteFloat] = (0.0, 1.0)
    """Smallest and largest pixel value; this schema version allows only [0, 1]."""
    preprocessing: Annotated[
        Preprocessing, Field(exclude_if=lambda stated: stated == UNSTATED_PREPROCESSING)
    ] = UNSTATED_PREPROCESSING
    """From schema version 3 on. An earlier version has no such key and means `stretch`, `black` and null."""

    @model_validator(mode="after")
    def _preprocessing_is_stated_once(self) -> ImageSpec:
        if "preprocessing" in self.model_fields_set and self.preprocessing == UNSTATED_PREPROCESSING:
            raise ValueError(
                "preprocessing: expected no key, because its value is the meaning of earlier "
                "versions without one"
            )
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
    """True if sigma was fitted with the weights, false if the recipe fixed it."""


Likelihood = Annotated[BernoulliLikelihood | GaussianLikelihood, Field(discriminator="name")]


class TensorSpec(StrictModel):
    """One input or output of a graph: float32, batch axis first and dynamic."""

    name: Literal["x", "mu", "logvar", "z", "x_hat"]
    dtype: Literal["float32"] = "float32"
    shape: tuple[Literal["batch"] | Annotated[int, Field(ge=1)], ...]
    """("batch", ...): the word for the dynamic axis, then the fixed sizes of one example."""


class GraphSpec(StrictModel):
    """One ONNX graph, its inputs and its outputs."""

    file: Literal["encoder.onnx", "decoder.onnx"]
    opset: Annotated[int, Field(ge=13, le=64)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class GoldenSpec(StrictModel):
    """Permitted differences of a runtime from the outputs in `golden.npz`."""

    file: Literal["golden.npz"] = "golden.npz"
    latent_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-4
    """Largest absolute difference of any `mu` or `logvar`."""
    pixel_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-5
    """Largest absolute difference of any pixel of `x_hat`."""


class FileEntry(StrictModel):
    """Digest and size of one file, both checked before any byte of it is used."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1)]


class Metric(StrictModel):
    """A figure and its protocol: a number without its protocol is not comparable."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """Such as `negative_elbo`, `reconstruction_nll`, `kl`, `nll_iw`, `active_units`."""
    value: FiniteFloat
    unit: Literal["nats per image", "bits per dimension", "units", "ratio", "pixel value"]
    protocol: Text
    """Data, number and choice of the images, binarisation, samples K, seed: enough to repeat it."""


class TrainingProvenance(StrictModel):
    """Origin of the weights: all information to train them again."""

    recipe: dict[str, JsonValue]
    """The whole configuration of the run, defaults included."""
    data: Text
    """Name and size of the training data."""
    data_fingerprint: Sha256
    """Digest over the decompressed training images, which identifies the data."""
    libraries: dict[str, str]
    """Version of each library that influenced the numbers, by distribution name."""
    seed: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=0)]
    """Passes over the training data for these weights."""
    git_revision: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}(?:-dirty)?|unknown)$")]
    created_at: Moment
    """Time of the export: ISO 8601 with its UTC offset."""


class StandardNormalPrior(StrictModel):
    """p(z) = N(0, I): the prior of the training objective."""

    name: Literal["standard"] = "standard"
    family: Literal["standard_normal"] = "standard_normal"


class LabelledMixture(StrictModel):
    """The label of a mixture."""

    label: Label
    components: ComponentCount
    share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
    """Share of the fitted images with this label."""


class FittedPrior(StrictModel):
    """Gaussian mixtures over z, fitted after training: one to all images, and one to those of each label.

    `prior.npz` contains their parameters: the mixture of all images first, then those of the labels in order.
    """

    name: Literal["fitted"] = "fitted"
    family: Literal["gaussian_mixture"] = "gaussian_mixture"
    file: Literal["prior.npz"] = "prior.npz"
    components: ComponentCount
    """Components of the mixture of all images."""
    labels: Annotated[tuple[LabelledMixture, ...], Field(max_length=1000)]
    """Labels with a mixture of their own; empty if the images had none."""
    protocol: Text
    """Its data and protocol: data, draws, choice of the number of components, seed."""
    metrics: tuple[Metric, ...]
    """Quality on images that it was not fitted to."""

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


class PreviewSpec(StrictModel):
    """Posterior means of some real images, for people who look at the model.

    `preview.npz` contains them, with the images as thumbnails.
    """

    file: Literal["preview.npz"] = "preview.npz"
    images: Annotated[int, Field(ge=1, le=MAX_PREVIEW_IMAGES)]
    labels: Annotated[tuple[Label, ...], Field(max_length=1000)]
    """The labels that the images have; empty if they have none."""
    thumbnail: tuple[
        Annotated[int, Field(ge=1, le=16)],
        Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)],
        Annotated[int, Field(ge=1, le=MAX_THUMBNAIL_SIDE)],
    ]
    """(channels, height, width) of one of them."""
    protocol: Text
    """Choice of the images, and the images whose KL was averaged."""

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> PreviewSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: expected each label once")
        return self


Prior = Annotated[StandardNormalPrior | FittedPrior, Field(discriminator="name")]
#: Names of the priors that a version may list, in order.
_PRIORS_BY_KIND = {"vae": (("standard",), ("standard", "fitted")), "ae": ((), ("fitted",))}


class ManifestDraft(StrictModel):
    """The publisher's part of a manifest, before the store assigns the version its number."""

    schema_version: SchemaVersion = _WITHOUT_FITTED_PRIOR
    """The lowest schema version that can express the content: 5 with a calibration, else 4 with a preview,
    else 3 with `image.preprocessing`, else 2 with a fitted prior, else 1."""
    name: ModelName
    kind: Literal["vae", "ae"]
    """`ae` is deterministic: its encoder's `logvar` has no meaning, and it has no trained prior."""
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
    """Densities over z to sample from: a vae's `standard`, and `fitted` if one was fitted after training."""
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    """SPDX expression for the weights."""
    preview: Annotated[
        PreviewSpec | None,
        Field(exclude_if=lambda preview: preview is None, json_schema_extra=never_null),
    ] = None
    """From schema version 4 on: posterior means of some real images. A version without has no such key."""
    calibration: Annotated[
        Calibration | None,
        Field(exclude_if=lambda calibration: calibration is None, json_schema_extra=never_null),
    ] = None
    """From schema version 5 on: thresholds of scores, from the user's own normal images. A version without
    has no such key."""

    @model_validator(mode="after")
    def _tensors_follow_from_image_and_latent_size(self) -> ManifestDraft:
        """The contract fixes the names and shapes; a manifest must state exactly these."""
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
        wanted = self._lowest_schema_version
        if self.schema_version != wanted:
            raise ValueError(
                f"schema_version: expected {wanted}, the lowest that knows these priors, this preprocessing "
                f"and a preview or a calibration if there is one, got {self.schema_version}"
            )
        return self

    @model_validator(mode="after")
    def _thumbnails_fit_the_images(self) -> ManifestDraft:
        if self.preview is not None:
            channels, height, width = self.image.shape
            of = self.preview.thumbnail
            if of[0] != channels or of[1] > height or of[2] > width:
                raise ValueError(
                    f"preview.thumbnail: expected {channels} channels and at most {height} × {width}, as "
                    f"image.shape, got {list(of)}"
                )
        return self

    @model_validator(mode="after")
    def _calibration_needs_a_density(self) -> ManifestDraft:
        if self.calibration is not None:
            if self.kind != "vae":
                raise ValueError("calibration: expected none for kind 'ae', which assigns no probability")
            if self.likelihood.name == "gaussian" and self.calibration.binarise != "none":
                raise ValueError("calibration.binarise: expected 'none' for a Gaussian likelihood")
        return self

    @property
    def _lowest_schema_version(self) -> int:
        return lowest_schema_version(
            self.image,
            fitted=self.fitted_prior is not None,
            preview=self.preview is not None,
            calibration=self.calibration is not None,
        )

    @property
    def fitted_prior(self) -> FittedPrior | None:
        """The entry of a fitted prior, if there is one."""
        return next((prior for prior in self.priors if isinstance(prior, FittedPrior)), None)

    @property
    def values_per_row(self) -> int:
        """Numbers of one image, or of one latent if it has more: the measure of memory and of limits."""
        return max(math.prod(self.image.shape), self.latent_size)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of a version with this manifest, apart from the manifest."""
        optional = (self.fitted_prior, self.preview)
        return (*REQUIRED_FILES, *(entry.file for entry in optional if entry is not None))

    def with_fitted_prior(self, fitted: FittedPrior) -> ManifestDraft:
        """The draft of the same graphs with this prior, instead of an earlier one."""
        stated = {name: getattr(self, name) for name in ManifestDraft.model_fields}
        priors = (*(prior for prior in self.priors if prior.name != fitted.name), fitted)
        version = max(self.schema_version, lowest_schema_version(self.image, fitted=True))
        return ManifestDraft(**{**stated, "priors": priors, "schema_version": version})

    def with_preview(self, preview: PreviewSpec) -> ManifestDraft:
        """The draft of the same graphs with this preview, instead of an earlier one."""
        stated = {name: getattr(self, name) for name in ManifestDraft.model_fields}
        version = max(self.schema_version, _WITH_PREVIEW)
        return ManifestDraft(**{**stated, "preview": preview, "schema_version": version})

    def with_calibration(self, calibration: Calibration) -> ManifestDraft:
        """The draft of the same graphs with these thresholds, instead of earlier ones."""
        stated = {name: getattr(self, name) for name in ManifestDraft.model_fields}
        return ManifestDraft(**{**stated, "calibration": calibration, "schema_version": _WITH_CALIBRATION})


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


def lowest_schema_version(
    image: ImageSpec, *, fitted: bool, preview: bool = False, calibration: bool = False
) -> int:
    """The schema version of a manifest for such images, with or without each optional part."""
    if calibration:
        return _WITH_CALIBRATION
    if preview:
        return _WITH_PREVIEW
    if image.preprocessing != UNSTATED_PREPROCESSING:
        return _WITH_PREPROCESSING
    return _WITH_FITTED_PRIOR if fitted else _WITHOUT_FITTED_PRIOR


def graph_specs(
    *, image_shape: tuple[int, int, int], latent_size: int, opset: int
) -> tuple[GraphSpec, GraphSpec]:
    """The (encoder, decoder) specs of the contract for this image shape and latent size."""
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
