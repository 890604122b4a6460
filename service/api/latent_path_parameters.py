"""Parameters of /interpolate and /traverse.

Knows names, bounds and reasons. Knows nothing of requests, models or arrays.
The OpenAPI document is generated from these classes, so the docstrings are what users read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from service.api.parameters import Drawing, ImagesQuery
from service.engine import LARGEST_SPAN, MOST_DIMS, SMALLEST_SPAN, Method, Spacing
from service.http.parameters import AtMost, Parameters

#: The largest latent size that a manifest may state, less one.
_LARGEST_INDEX = 65_535

Steps = Annotated[int | None, Field(ge=2, examples=[8]), AtMost("max_images")]
LatentIndex = Annotated[int, Field(ge=0, le=_LARGEST_INDEX)]


class InterpolateParameters(Parameters):
    """Which way to go, and in how many steps."""

    steps: Steps = None
    """How many images, both ends included. Left out: 8, or 5 as text, which fits a terminal."""
    method: Annotated[Method | None, Field(examples=["lerp"])] = None
    """`slerp`: along an arc from one direction to the other, while the length goes evenly from one to the
    other, so that no z on the way is shorter than both ends, as it would be on the straight line
    (arXiv:1609.04468); where an end is zero, or both point the same way or opposite ways, there is no single
    arc, and it goes straight. Rows of `z` longer than `max_latent` of GET /limits are refused. `lerp`:
    straight. Left out: `slerp`, and for an autoencoder, which has no Gaussian prior, `lerp`."""


class InterpolateQuery(Drawing, InterpolateParameters):
    """Query of /interpolate."""


class TraverseParameters(Parameters):
    """Which dimensions, how far, and in how many steps."""

    dims: Annotated[
        list[LatentIndex] | None, Field(min_length=1, max_length=MOST_DIMS, examples=[[0, 1]])
    ] = None
    """One or two different latent indices, counted from 0: the first changes from row to row, the second
    along each. Left out: the first two, or the only one."""
    steps: Steps = None
    """Points along each dimension; with two, at most the square root of `max_images` of GET /limits. Left
    out: 8, or 5 as text, which fits a terminal."""
    spacing: Annotated[Spacing | None, Field(examples=["linear"])] = None
    """`quantile`: the prior has as much mass between any two neighbours (arXiv:1312.6114, appendix A).
    `linear`: all are equally far apart. Left out: `quantile`, and for an autoencoder, which has no prior,
    `linear`, the only one."""
    span: Annotated[
        float | None, Field(ge=SMALLEST_SPAN, le=LARGEST_SPAN, allow_inf_nan=False, examples=[2.5])
    ] = None
    """How far the grid reaches to either side of 0, in standard deviations of the prior, for both spacings.
    Left out: 2, the central 95 %."""


class TraverseQuery(Drawing, ImagesQuery, TraverseParameters):
    """Query of /traverse."""
