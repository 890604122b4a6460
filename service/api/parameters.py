"""Parameters that several operations share; those of a single operation are in its module.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays. The OpenAPI document is
generated from these classes, so users read the docstrings.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_store.pictures import Fit
from service.engine import LARGEST_SEED
from service.http.parameters import Parameters
from service.references import MAX_REFERENCE_CHARACTERS, REFERENCE_PATTERN

#: The pattern is for the document only: the registry checks the name, with a better error.
ModelReference = Annotated[
    str | None,
    Field(
        max_length=MAX_REFERENCE_CHARACTERS,
        examples=["mnist"],
        json_schema_extra={"pattern": REFERENCE_PATTERN},
    ),
]
Invert = Literal["no", "yes", "auto", "false", "true"]
Seed = Annotated[int | None, Field(ge=0, le=LARGEST_SEED, examples=[7])]


class ModelChoice(Parameters):
    """The choice of the model."""

    model: ModelReference = None
    """The model to use, as `name`, `name@version` or `name@alias`. Left out: the server's default model."""


class Drawing(ModelChoice):
    """The drawing of images for people; JSON, npy and npz ignore it."""

    scale: Annotated[int, Field(ge=1, le=64, examples=[4])] = 1
    """PNG, JPEG and WebP: side of the square for each pixel."""
    columns: Annotated[int | None, Field(ge=1, le=256, examples=[8])] = None
    """PNG, JPEG, WebP and text: images per row. Left out: as square as possible in a picture, five in text;
    for /interpolate and /traverse one path per row."""
    quality: Annotated[int | None, Field(ge=1, le=100, examples=[80])] = None
    """JPEG and WebP: 1 is the shortest file, 100 the most exact. Left out: 90 for JPEG, and WebP without any
    loss."""


class ImagesQuery(ModelChoice):
    """The reading of pictures in the body; JSON and npy ignore it."""

    resize: Annotated[bool, Field(examples=[True])] = False
    """Pictures only: accept any size, and bring it to the model's size as in training
    (`preprocessing` of GET /models/{name}), or by `contain` if the version does not state how."""
    fit: Annotated[Fit | None, Field(examples=["mnist"])] = None
    """Pictures only: accept any size, and bring it to the model's size in this way. `contain`: all of the
    picture, centred on the ground. `cover`: its largest middle part with the model's proportions.
    `stretch`: each axis separately. `mnist`: the figure alone, cut out, scaled to a box of 20 of 28 pixels
    with its centre of mass in the middle, as MNIST was made. `X-Picture` of the response says what was
    done."""
    invert: Annotated[Invert | None, Field(examples=["auto"])] = None
    """Pictures only: `yes` or `true`: the picture is dark on light, and the model expects light on dark, or
    the other way round. `auto`: invert it if its border looks so. `no` or `false`: leave it. Left out: leave
    it, and `X-Warning` of the response names pictures that look inverted."""


class NoParameters(Parameters):
    """For paths without parameters."""
