"""The manifest: what a published model version says about itself.

Knows names, shapes, digests and figures. Knows nothing of files on disk, ONNX or HTTP.
Every model here is strict (no coercion), frozen, and refuses unknown keys: a misspelt key is a
defect to be told, never a default to be guessed. `SPEC.md` says the same in MUST and MAY;
`manifest.schema.json` is generated from these classes and held equal by a test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from model_store.errors import defect, quoted

SCHEMA_VERSION = 1

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
GOLDEN_FILE = "golden.npz"
CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
#: What every version holds beside its manifest; nothing else may lie in its directory.
REQUIRED_FILES = (ENCODER_FILE, DECODER_FILE, GOLDEN_FILE, CARD_FILE)

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
ALIAS_PATTERN = r"^[a-z](?:[a-z0-9-]{0,62}[a-z0-9])?$"

#: Not a Literal: `true` equals 1 and would pass for it.
SchemaVersion = Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
_MAX_FINDINGS_TOLD = 10


def of_a_later_contract(stated: Mapping[str, Any], *, where: str) -> str | None:
    """What to say of a file with a higher schema version than this package knows; None for any other.

    Such a file must not be taken for a damaged one, which an operator would remove.
    """
    version = stated.get("schema_version")
    if type(version) is not int or version <= SCHEMA_VERSION:
        return None
    return defect(
        where,
        expected=f"schema_version {SCHEMA_VERSION}",
        got=quoted(str(version)),
        remedy="A newer release of vae-service wrote it, and nothing says that it is damaged: leave it as it "
        "is, and read it with that release.",
    )


def findings(error: ValidationError) -> str:
    """Which keys pydantic refused and why, at most ten of them, without their values."""
    defects = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{quoted('.'.join(map(str, item['loc'])) or 'the whole')}: {item['msg'][:300]}"
        for item in defects[:_MAX_FINDINGS_TOLD]
    ]
    more = len(defects) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
#: Starts with a letter, so that `name@3` is always a version and never an alias.
AliasName = Annotated[str, Field(pattern=ALIAS_PATTERN)]
VersionNumber = Annotated[int, Field(ge=1, le=999_999_999)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4000)]


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


class ManifestDraft(StrictModel):
    """All that a publisher knows before the store has given the version its number."""

    schema_version: SchemaVersion = SCHEMA_VERSION
    name: ModelName
    kind: Literal["vae", "ae"]
    """`ae` is deterministic: its encoder's `logvar` has no meaning and sampling it is not generation."""
    description: Text
    image: ImageSpec
    latent_size: Annotated[int, Field(ge=1, le=65_536)]
    likelihood: Likelihood
    encoder: GraphSpec
    decoder: GraphSpec
    golden: GoldenSpec = GoldenSpec()
    metrics: tuple[Metric, ...]
    provenance: TrainingProvenance
    priors: tuple[StandardNormalPrior, ...]
    """Densities over z to sample from; empty for an autoencoder, which has none."""
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
        if self.kind == "vae" and not self.priors:
            raise ValueError("priors: a vae has at least the prior 'standard'")
        if self.kind == "ae" and self.priors:
            raise ValueError("priors: an autoencoder has no prior; leave the list empty")
        return self


class Manifest(ManifestDraft):
    """`manifest.json` of one published, immutable version."""

    version: VersionNumber
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], FileEntry]
    """Every file of the version except the manifest itself."""
    manifest_sha256: Sha256
    """Digest of `manifest.json` itself, taken with these 64 digits written as zeros."""

    @model_validator(mode="after")
    def _files_are_the_required_ones(self) -> Manifest:
        missing = sorted(set(REQUIRED_FILES) - set(self.files))
        unknown = sorted(set(self.files) - set(REQUIRED_FILES))
        if missing or unknown:
            raise ValueError(
                f"files: missing {missing}, unknown {unknown}; expected exactly {list(REQUIRED_FILES)}"
            )
        return self


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
