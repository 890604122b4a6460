"""Parameters of the native API: what a query or a small JSON body may hold beside arrays.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays.
The OpenAPI document is generated from these classes, so the docstrings are what users read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_store.manifest import MAX_LABEL_CHARACTERS
from service.http.parameters import AtMost, Parameters
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


class SampleParameters(Parameters):
    """What to draw."""

    n: Annotated[int | None, Field(ge=1, examples=[4]), AtMost("max_stream_images")] = None
    """How many images. Left out: 1, or 10 as text, which is two rows on a terminal. More than `max_images` of
    GET /limits only as npy, which is sent part by part."""
    seed: Seed = None
    """Where the randomness comes from: the same seed gives the same bytes, and image *i* does not depend on
    `n`. Left out: one is drawn, and told in the answer and in `X-Seed`."""
    temperature: Annotated[float | None, Field(ge=0.0, le=10.0, allow_inf_nan=False, examples=[0.8])] = None
    """Factor on the noise: with `prior=standard` the standard deviation of z, with `prior=fitted` the spread
    around each Gaussian's mean. Left out: 1, the prior itself; less is more typical, more is stranger."""
    prior: Annotated[Literal["standard", "fitted"] | None, Field(examples=["standard"])] = None
    """`standard`: N(0, I), which the model was trained with. `fitted`: a mixture of Gaussians, fitted to
    where the training images lie. Left out: the best that the version has; `X-Prior` tells which that was."""
    label: Annotated[str | None, Field(max_length=MAX_LABEL_CHARACTERS, examples=["7"])] = None
    """Draw images of this label only, by the prior that was fitted to them. GET /models lists the labels."""


class SampleQuery(Drawing, SampleParameters):
    """Query of /sample."""


class ImagesQuery(ModelChoice):
    """How an image in the body is to be read."""

    resize: Annotated[bool, Field(examples=[True])] = False
    """PNG only: take a picture of any size and scale it to the size the model takes, as its training did: the
    largest middle part of the model's proportions (`preprocessing.fit` of GET /models/{name} is `crop`), or
    each axis by itself (`stretch`, of versions published before manifests stated it)."""
    invert: Annotated[bool, Field(examples=[True])] = False
    """PNG only: the picture is black on white; the model's digits are white on black."""


class ReconstructParameters(Parameters):
    """How z is chosen from the posterior."""

    sample: Annotated[bool | None, Field(examples=[True])] = None
    """False or left out: z = mu, the same for every request. True: z = mu + sigma * eps."""
    seed: Seed = None
    """Where eps comes from when `sample` is true; drawn and told when left out. Without `sample` it plays no
    part."""


class ReconstructQuery(Drawing, ImagesQuery, ReconstructParameters):
    """Query of /reconstruct."""


class NoParameters(Parameters):
    """For paths that take no parameters."""
