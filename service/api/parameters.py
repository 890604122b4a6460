"""Parameters that several operations share; those of one stand in its own module.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays.
The OpenAPI document is generated from these classes, so the docstrings are what users read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.http.parameters import Parameters
from service.references import MAX_REFERENCE_CHARACTERS, REFERENCE_PATTERN

#: JSON numbers beyond this lose digits in JavaScript and other readers that know only float64.
MAX_SEED = 2**53 - 1

#: The pattern is for the document only: the registry answers for a name, and says more about it.
ModelReference = Annotated[
    str | None,
    Field(
        max_length=MAX_REFERENCE_CHARACTERS,
        examples=["mnist"],
        json_schema_extra={"pattern": REFERENCE_PATTERN},
    ),
]
Seed = Annotated[int | None, Field(ge=0, le=MAX_SEED, examples=[7])]


class ModelChoice(Parameters):
    """Which model answers."""

    model: ModelReference = None
    """The model to use, as `name`, `name@version` or `name@alias`. Left out: the server's default model."""


class Drawing(ModelChoice):
    """How images are drawn for people; JSON, npy and npz take no notice of it."""

    scale: Annotated[int, Field(ge=1, le=64, examples=[4])] = 1
    """PNG only: side of the square that each pixel becomes."""
    columns: Annotated[int | None, Field(ge=1, le=256, examples=[8])] = None
    """PNG and text: images per row. Left out: as square as possible in a PNG, five in text; /interpolate and
    /traverse have a whole way in each row."""


class ImagesQuery(ModelChoice):
    """How an image in the body is to be read."""

    resize: Annotated[bool, Field(examples=[True])] = False
    """PNG only: take a picture of any size and scale it to the size the model takes, as its training did: the
    largest middle part of the model's proportions (`preprocessing.fit` of GET /models/{name} is `crop`), or
    each axis by itself (`stretch`, of versions published before manifests stated it)."""
    invert: Annotated[bool, Field(examples=[True])] = False
    """PNG only: the picture is black on white; the model's digits are white on black."""


class NoParameters(Parameters):
    """For paths that take no parameters."""
