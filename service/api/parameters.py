"""Parameters that several operations share; those of a single operation are in its module.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays. The OpenAPI document is
generated from these classes, so users read the docstrings.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.http.parameters import Parameters
from service.references import MAX_REFERENCE_CHARACTERS, REFERENCE_PATTERN

#: Larger JSON numbers lose digits in JavaScript and other readers that only have float64.
MAX_SEED = 2**53 - 1

#: The pattern is for the document only: the registry checks the name, with a better error.
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
    """The choice of the model."""

    model: ModelReference = None
    """The model to use, as `name`, `name@version` or `name@alias`. Left out: the server's default model."""


class Drawing(ModelChoice):
    """The drawing of images for people; JSON, npy and npz ignore it."""

    scale: Annotated[int, Field(ge=1, le=64, examples=[4])] = 1
    """PNG only: side of the square for each pixel."""
    columns: Annotated[int | None, Field(ge=1, le=256, examples=[8])] = None
    """PNG and text: images per row. Left out: as square as possible in a PNG, five in text; for /interpolate
    and /traverse one path per row."""


class ImagesQuery(ModelChoice):
    """The reading of an image in the body."""

    resize: Annotated[bool, Field(examples=[True])] = False
    """PNG only: accept an image of any size and scale it to the model's size, as in training: the largest
    middle part with the model's proportions (`preprocessing.fit` of GET /models/{name} is `crop`), or each
    axis separately (`stretch`, for versions published before manifests stated it)."""
    invert: Annotated[bool, Field(examples=[True])] = False
    """PNG only: the image is black on white; the model's digits are white on black."""


class NoParameters(Parameters):
    """For paths without parameters."""
