"""Types of the JSON answers, written by generate_models.py from the OpenAPI document."""

from __future__ import annotations

from typing import Literal, TypedDict


class LimitSetting(TypedDict):
    """The setting behind a limit."""

    flag: str
    variable: str


class Limit(TypedDict):
    """One limit, for one server."""

    name: str
    value: float
    unit: str
    of: str
    beyond: str
    status: int | None
    codes: list[str]
    setting: LimitSetting | None


class ModelSummaryImportedSizes(TypedDict):
    """Sides of images that a model accepts, each independent of the other."""

    multiple: int
    least: int
    most: int


class ModelSummaryImported(TypedDict):
    """A model that was made elsewhere."""

    graphs: list[Literal["encoder", "decoder"]]
    latent_shape: list[int]
    sizes: ModelSummaryImportedSizes | None
    graph_range: list[float] | None
    scaling_factor: float | None
    shift_factor: float | None
    latent_mean: list[float] | None
    latent_std: list[float] | None


class _ModelSummaryAlways(TypedDict):
    model: str
    name: str
    version: int
    aliases: list[str]
    kind: Literal["vae", "ae"]
    image_shape: list[int]
    latent_size: int
    priors: list[str]
    labels: list[str]
    description: str
    preview: bool


class ModelSummary(_ModelSummaryAlways, total=False):
    """One loaded version."""

    latent_shape: list[int]
    imported: ModelSummaryImported
    precision: Literal["bfloat16"]
