"""The manifest: the description of a published model version.

Knows names, shapes, digests and figures. Knows nothing of files on disk, ONNX or HTTP. Every model here is
strict (no coercion), frozen, and rejects unknown keys: a misspelt key is a defect to report, and never
becomes a default. `SPEC.md` states the same in MUST and MAY; `manifest.schema.json` is generated from these
classes, and a test compares them.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from model_store.calibration import Calibration
from model_store.imported import (
    ImportedProvenance,
    LatentSpec,
    OpenSizes,
    UnknownLikelihood,
    shape_objections,
    tensor_objections,
)
from model_store.label_draws import LabelDraws
from model_store.strict_model import FiniteFloat, Moment, StrictModel, Text, never_null
from model_store.tensor_spec import GraphSpec, prior_objections, trained_objections

#: The highest schema version that this package knows.
SCHEMA_VERSION = 5
#: A manifest states the lowest version that can express its content, so that older releases can read it.
_WITHOUT_FITTED_PRIOR, _WITH_FITTED_PRIOR, _WITH_PREPROCESSING, _WITH_PREVIEW = 1, 2, 3, 4
_WITH_LEARNED_PRIOR = _WITH_IMPORTED = _WITH_CALIBRATION = 5

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
GOLDEN_FILE = "golden.npz"
PRIOR_FILE = "prior.npz"
PREVIEW_FILE = "preview.npz"
PRIOR_SAMPLER_FILE = "prior_sampler.onnx"
PRIOR_DENSITY_FILE = "prior_density.onnx"
PRIOR_GOLDEN_FILE = "prior_golden.npz"
CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
#: The files of every version that this package's trainer makes, apart from its manifest.
REQUIRED_FILES = (ENCODER_FILE, DECODER_FILE, GOLDEN_FILE, CARD_FILE)
#: Of an imported version, either graph may be missing.
ALWAYS_REQUIRED_FILES = (GOLDEN_FILE, CARD_FILE)
#: Optional files, which the manifest lists. No other file may be in the directory.
OPTIONAL_FILES = (PRIOR_FILE, PREVIEW_FILE, PRIOR_SAMPLER_FILE, PRIOR_DENSITY_FILE, PRIOR_GOLDEN_FILE)

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
    """(channels, height, width); with `sizes`, that of images whose size is not stated."""
    range: tuple[FiniteFloat, FiniteFloat] | None = (0.0, 1.0)
    """The graphs' values of black and white; null: the values are no pixels and have no bounds. Only an
    imported model may state another range than [0, 1]."""
    preprocessing: Annotated[
        Preprocessing, Field(exclude_if=lambda stated: stated == UNSTATED_PREPROCESSING)
    ] = UNSTATED_PREPROCESSING
    """From schema version 3 on. An earlier version has no such key and means `stretch`, `black` and null."""
    sizes: Annotated[
        OpenSizes | None,
        Field(exclude_if=lambda sizes: sizes is None, json_schema_extra=never_null),
    ] = None
    """From schema version 5 on: the other sizes that the graphs accept. Without the key there are none."""

    @model_validator(mode="after")
    def _preprocessing_is_stated_once(self) -> ImageSpec:
        if "preprocessing" in self.model_fields_set and self.preprocessing == UNSTATED_PREPROCESSING:
            raise ValueError(
                "preprocessing: expected no key, because its value is the meaning of earlier "
                "versions without one"
            )
        return self

    @model_validator(mode="after")
    def _range_has_an_extent(self) -> ImageSpec:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range: expected two increasing numbers, got {list(self.range)}")
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


Likelihood = Annotated[
    BernoulliLikelihood | GaussianLikelihood | UnknownLikelihood, Field(discriminator="name")
]


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


def _kind_of_provenance(value: Any) -> str:
    """Only an imported version states an origin."""
    imported = "origin" in value if isinstance(value, dict) else isinstance(value, ImportedProvenance)
    return "imported" if imported else "trained"


Provenance = Annotated[
    Annotated[TrainingProvenance, Tag("trained")] | Annotated[ImportedProvenance, Tag("imported")],
    Discriminator(_kind_of_provenance),
]


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
        _check_mixtures(self)
        return self


class PriorGoldenSpec(StrictModel):
    """Permitted differences of a runtime from the arrays in `prior_golden.npz`."""

    file: Literal["prior_golden.npz"] = "prior_golden.npz"
    latent_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-4
    """Largest absolute difference of any `z`, and of any `u` after the way to z and back."""
    log_density_atol: Annotated[float, Field(gt=0.0, le=0.1, allow_inf_nan=False)] = 1e-3
    """Largest absolute difference of any `log_pz`, in nats."""


class LearnedPrior(StrictModel):
    """A density over z that was learned with the model: Gaussian mixtures over u, and a map between u and z.

    `prior.npz` contains the mixtures, as of a fitted prior: that of all images, then those of the labels.
    """

    name: Literal["learned"] = "learned"
    family: Literal["flow_of_gaussian_mixture"] = "flow_of_gaussian_mixture"
    file: Literal["prior.npz"] = "prior.npz"
    components: ComponentCount
    """Components of the mixture of all images."""
    labels: Annotated[tuple[LabelledMixture, ...], Field(max_length=1000)]
    """Labels with a mixture of their own; empty if the prior has none. `share` is p(y) of the prior."""
    sampler: GraphSpec
    """`u` to `z`."""
    density: GraphSpec
    """`z` to `u`, its inverse, and `log_pz`."""
    golden: PriorGoldenSpec = PriorGoldenSpec()
    protocol: Text
    """Its training: the part of the labels in it."""
    label_draws: Annotated[
        LabelDraws | None,
        Field(exclude_if=lambda rule: rule is None, json_schema_extra=never_null),
    ] = None
    """The rule for draws of a requested label. A version without takes the first draw of the label's mixture,
    and has no such key."""

    @property
    def component_counts(self) -> tuple[int, ...]:
        """Components of each mixture, in the order of `prior.npz`."""
        return (self.components, *(each.components for each in self.labels))

    @model_validator(mode="after")
    def _labels_are_distinct_and_components_bounded(self) -> LearnedPrior:
        _check_mixtures(self)
        if self.label_draws is not None and len(self.labels) < 2:
            raise ValueError("label_draws: expected no key without two labels or more to choose between")
        return self


def _check_mixtures(prior: FittedPrior | LearnedPrior) -> None:
    if len({each.label for each in prior.labels}) != len(prior.labels):
        raise ValueError("labels: expected each label once")
    if sum(prior.component_counts) > MAX_COMPONENTS_IN_ALL:
        raise ValueError(
            f"components: expected at most {MAX_COMPONENTS_IN_ALL} in all mixtures together, "
            f"got {sum(prior.component_counts)}"
        )


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


Prior = Annotated[StandardNormalPrior | FittedPrior | LearnedPrior, Field(discriminator="name")]
#: Names of the priors that a version may list, in order.
_PRIORS_BY_KIND: dict[str, tuple[tuple[str, ...], ...]] = {
    "vae": (("standard",), ("standard", "fitted"), ("learned",)),
    "ae": ((), ("fitted",)),
}
#: The latents of an imported model need not follow N(0, I).
_PRIORS_OF_IMPORTED = ((), ("standard",), ("fitted",), ("standard", "fitted"))


class ManifestDraft(StrictModel):
    """The publisher's part of a manifest, before the store assigns the version its number."""

    schema_version: SchemaVersion = _WITHOUT_FITTED_PRIOR
    """The lowest schema version that can express the content: 5 for an imported model, a learned prior or a
    calibration, else 4 with a preview,
    else 3 with `image.preprocessing`, else 2 with a fitted prior, else 1."""
    name: ModelName
    kind: Literal["vae", "ae"]
    """`ae` is deterministic: its encoder's `logvar` has no meaning, and it has no trained prior. An imported
    `ae` may have no `logvar`."""
    description: Text
    image: ImageSpec
    latent_size: Annotated[int, Field(ge=1, le=65_536)]
    latent: Annotated[
        LatentSpec | None,
        Field(exclude_if=lambda latent: latent is None, json_schema_extra=never_null),
    ] = None
    """From schema version 5 on: shape and normalisation of latents. Without the key they are flat."""
    likelihood: Likelihood
    encoder: Annotated[
        GraphSpec | None, Field(exclude_if=lambda graph: graph is None, json_schema_extra=never_null)
    ] = None
    """Only an imported model may lack one of the graphs, and then the key."""
    decoder: Annotated[
        GraphSpec | None, Field(exclude_if=lambda graph: graph is None, json_schema_extra=never_null)
    ] = None
    golden: GoldenSpec = GoldenSpec()
    metrics: tuple[Metric, ...]
    provenance: Provenance
    priors: tuple[Prior, ...]
    """Densities over z to sample from: a vae's `standard`, and `fitted` if one was fitted after training; or
    `learned` alone, if the prior was learned with the model."""
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
    def _tensors_follow_from_image_and_latent(self) -> ManifestDraft:
        """The contract fixes the shapes, and a trained model's names; a manifest must state exactly these."""
        if self.is_imported:
            for objection in shape_objections(
                self.image.shape, self.image.sizes, self.latent, self.latent_size
            ):
                raise ValueError(objection)
            for objection in tensor_objections(
                self.encoder, self.decoder, image=self.image.shape, latent=self.latent_shape
            ):
                raise ValueError(objection)
            return self
        for name, stated in (("latent", self.latent), ("image.sizes", self.image.sizes)):
            if stated is not None:
                raise ValueError(f"{name}: expected no key, because only an imported model has it")
        if self.image.range != (0.0, 1.0):
            got = self.image.range and list(self.image.range)
            raise ValueError(f"image.range: expected [0.0, 1.0], got {got}")
        if self.likelihood.name == "unknown":
            raise ValueError("likelihood: expected that of the training, got 'unknown'")
        for objection in trained_objections(
            self.encoder, self.decoder, image_shape=self.image.shape, latent_size=self.latent_size
        ):
            raise ValueError(objection)
        if (learned := self.learned_prior) is not None:
            for objection in prior_objections(learned.sampler, learned.density, latent_size=self.latent_size):
                raise ValueError(objection)
        return self

    @model_validator(mode="after")
    def _priors_fit_the_kind_and_the_schema_version(self) -> ManifestDraft:
        names = tuple(prior.name for prior in self.priors)
        allowed = _PRIORS_OF_IMPORTED if self.is_imported else _PRIORS_BY_KIND[self.kind]
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
            learned=self.learned_prior is not None,
            imported=self.is_imported,
            calibration=self.calibration is not None,
        )

    @property
    def is_imported(self) -> bool:
        """Whether the graphs were made elsewhere."""
        return isinstance(self.provenance, ImportedProvenance)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, of an image of the default size."""
        return (self.latent_size,) if self.latent is None else self.latent.shape

    @property
    def fitted_prior(self) -> FittedPrior | None:
        """The entry of a fitted prior, if there is one."""
        return next((prior for prior in self.priors if isinstance(prior, FittedPrior)), None)

    @property
    def learned_prior(self) -> LearnedPrior | None:
        """The entry of a learned prior, if there is one."""
        return next((prior for prior in self.priors if isinstance(prior, LearnedPrior)), None)

    @property
    def mixture_prior(self) -> FittedPrior | LearnedPrior | None:
        """The prior whose mixtures `prior.npz` contains, if there is one."""
        return self.fitted_prior or self.learned_prior

    @property
    def values_per_row(self) -> int:
        """Numbers of one image, or of one latent if it has more: the measure of memory and of limits."""
        return max(math.prod(self.image.shape), self.latent_size)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of a version with this manifest, apart from the manifest."""
        graphs = (self.encoder, self.decoder)
        optional: list[str] = [
            entry.file for entry in (self.mixture_prior, self.preview) if entry is not None
        ]
        if (learned := self.learned_prior) is not None:
            optional += [learned.sampler.file, learned.density.file, learned.golden.file]
        return (
            *(graph.file for graph in graphs if graph is not None),
            *ALWAYS_REQUIRED_FILES,
            *optional,
        )

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

    def with_learned_prior(self, learned: LearnedPrior) -> ManifestDraft:
        """The draft of the same graphs with this prior, in place of all others."""
        stated = {name: getattr(self, name) for name in ManifestDraft.model_fields}
        return ManifestDraft(**{**stated, "priors": (learned,), "schema_version": _WITH_LEARNED_PRIOR})

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
    image: ImageSpec,
    *,
    fitted: bool,
    preview: bool = False,
    learned: bool = False,
    imported: bool = False,
    calibration: bool = False,
) -> int:
    """The schema version of a manifest for such images, with or without each optional part."""
    if learned or imported or calibration:
        return _WITH_LEARNED_PRIOR
    if preview:
        return _WITH_PREVIEW
    if image.preprocessing != UNSTATED_PREPROCESSING:
        return _WITH_PREPROCESSING
    return _WITH_FITTED_PRIOR if fitted else _WITHOUT_FITTED_PRIOR
