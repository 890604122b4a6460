"""The origin of a version in its manifest: its training or its import, and the figures that were measured.

Knows what must be stated to repeat them. Knows nothing of graphs or of files on disk.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from model_store.imported import ImportedProvenance
from model_store.name_types import Sha256
from model_store.strict_model import FiniteFloat, Moment, StrictModel, Text


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
