"""The manifest: the description of a published model version.

Knows names, shapes, digests and figures. Knows nothing of files on disk, ONNX or HTTP. Every model here is
strict (no coercion), frozen, and rejects unknown keys: a misspelt key is a defect to report, and never
becomes a default. `SPEC.md` states the same in MUST and MAY; `manifest.schema.json` is generated from these
classes, and a test compares them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from model_store.calibration import Calibration
from model_store.image_spec import UNSTATED_PREPROCESSING, ImageSpec, Preprocessing
from model_store.imported import (
    ImportedProvenance,
    LatentSpec,
    shape_objections,
    tensor_objections,
    trained_latent_objections,
)
from model_store.likelihood_spec import BernoulliLikelihood, GaussianLikelihood, Likelihood
from model_store.name_types import (
    ALIAS_PATTERN,
    MAX_LABEL_CHARACTERS,
    NAME_PATTERN,
    AliasName,
    Label,
    ModelName,
    Sha256,
    VersionNumber,
)
from model_store.preview_spec import MAX_PREVIEW_IMAGES, MAX_THUMBNAIL_SIDE, PreviewSpec
from model_store.prior_spec import (
    MAX_COMPONENTS,
    MAX_COMPONENTS_IN_ALL,
    FittedPrior,
    LabelledMixture,
    LearnedPrior,
    Prior,
    PriorGoldenSpec,
    StandardNormalPrior,
)
from model_store.provenance import Metric, Provenance, TrainingProvenance
from model_store.strict_model import StrictModel, Text, never_null
from model_store.tensor_spec import GraphSpec, prior_objections, trained_objections
from model_store.version_files import (
    ALWAYS_REQUIRED_FILES,
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    OPTIONAL_FILES,
    PREVIEW_FILE,
    PRIOR_DENSITY_FILE,
    PRIOR_FILE,
    PRIOR_GOLDEN_FILE,
    PRIOR_SAMPLER_FILE,
    REQUIRED_FILES,
)

#: With the names of its parts, which have modules of their own.
__all__ = [
    "ALIAS_PATTERN",
    "ALWAYS_REQUIRED_FILES",
    "CARD_FILE",
    "DECODER_FILE",
    "ENCODER_FILE",
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "MAX_COMPONENTS",
    "MAX_COMPONENTS_IN_ALL",
    "MAX_LABEL_CHARACTERS",
    "MAX_PREVIEW_IMAGES",
    "MAX_THUMBNAIL_SIDE",
    "NAME_PATTERN",
    "OPTIONAL_FILES",
    "PREVIEW_FILE",
    "PRIOR_DENSITY_FILE",
    "PRIOR_FILE",
    "PRIOR_GOLDEN_FILE",
    "PRIOR_SAMPLER_FILE",
    "REQUIRED_FILES",
    "SCHEMA_VERSION",
    "UNSTATED_PREPROCESSING",
    "AliasName",
    "BernoulliLikelihood",
    "FileEntry",
    "FittedPrior",
    "GaussianLikelihood",
    "GoldenSpec",
    "ImageSpec",
    "Label",
    "LabelledMixture",
    "LearnedPrior",
    "Likelihood",
    "Manifest",
    "ManifestDraft",
    "Metric",
    "ModelName",
    "Preprocessing",
    "PreviewSpec",
    "Prior",
    "PriorGoldenSpec",
    "Provenance",
    "Sha256",
    "StandardNormalPrior",
    "TrainingProvenance",
    "VersionNumber",
    "lowest_schema_version",
]

#: The highest schema version that this package knows.
SCHEMA_VERSION = 5
#: A manifest states the lowest version that can express its content, so that older releases can read it.
_WITHOUT_FITTED_PRIOR, _WITH_FITTED_PRIOR, _WITH_PREPROCESSING, _WITH_PREVIEW = 1, 2, 3, 4
_WITH_LEARNED_PRIOR = _WITH_IMPORTED = _WITH_CALIBRATION = _WITH_LATENT_SHAPE = 5

#: Not a Literal: `true` equals 1 and would pass for it.
SchemaVersion = Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]


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
    """The lowest schema version that can express the content: 5 for an imported model, a latent shape, a
    learned prior or a calibration, else 4 with a preview,
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
    """From schema version 5 on: shape of latents, and the normalisation of an imported model's. Without the
    key they are flat."""
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
        if self.image.sizes is not None:
            raise ValueError("image.sizes: expected no key, because only an imported model has it")
        for objection in trained_latent_objections(self.latent, self.latent_size):
            raise ValueError(objection)
        if self.image.range != (0.0, 1.0):
            got = self.image.range and list(self.image.range)
            raise ValueError(f"image.range: expected [0.0, 1.0], got {got}")
        if self.likelihood.name == "unknown":
            raise ValueError("likelihood: expected that of the training, got 'unknown'")
        for objection in trained_objections(
            self.encoder, self.decoder, image_shape=self.image.shape, latent_shape=self.latent_shape
        ):
            raise ValueError(objection)
        if (learned := self.learned_prior) is not None:
            if self.latent is not None:
                raise ValueError("priors: expected no 'learned' with a latent.shape, because its z is flat")
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
            shaped=self.latent is not None,
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
    shaped: bool = False,
) -> int:
    """The schema version of a manifest for such images, with or without each optional part.

    `shaped` means that the latent has a shape.
    """
    if learned or imported or calibration or shaped:
        return _WITH_LEARNED_PRIOR
    if preview:
        return _WITH_PREVIEW
    if image.preprocessing != UNSTATED_PREPROCESSING:
        return _WITH_PREPROCESSING
    return _WITH_FITTED_PRIOR if fitted else _WITHOUT_FITTED_PRIOR
