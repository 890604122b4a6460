"""/traverse: images along one or two latent dimensions."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field

from service import engine
from service.api.answer import Answer, Images, Latents
from service.api.call import Call, Outline
from service.api.native.steps import Steps, chosen_steps
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import Drawing, ImagesQuery
from service.api.request_arrays import IMAGES, Z
from service.engine import DEFAULT_SPAN, LARGEST_SPAN, MOST_DIMS, SMALLEST_SPAN, Spacing
from service.http.parameters import Parameters

#: The largest latent size that a manifest may state, less one.
_LARGEST_INDEX: Final = 65_535

LatentIndex = Annotated[int, Field(ge=0, le=_LARGEST_INDEX)]


class TraverseParameters(Parameters):
    """The dimensions, the extent, and the number of steps."""

    dims: Annotated[
        list[LatentIndex] | None, Field(min_length=1, max_length=MOST_DIMS, examples=[[0, 1]])
    ] = None
    """One or two different latent indices, counted from 0: the first changes from row to row, the second
    along each. Left out: the first two, or the only one."""
    steps: Steps = None
    """Points along each dimension; with two, at most the square root of `max_images` of GET /limits. Left
    out: 8, or 5 as text, which fits a terminal."""
    spacing: Annotated[Spacing | None, Field(examples=["linear"])] = None
    """`quantile`: the prior has equal mass between any two neighbours (arXiv:1312.6114, appendix A).
    `linear`: equal distances. Both are grids in z. Left out: `quantile`, and without the prior N(0, I), for
    an autoencoder or with a learned prior, `linear`, its only value."""
    span: Annotated[
        float | None, Field(ge=SMALLEST_SPAN, le=LARGEST_SPAN, allow_inf_nan=False, examples=[2.5])
    ] = None
    """Extent of the grid to either side of 0, in units of z, for both spacings. With the prior N(0, I) these
    are its standard deviations. Left out: 2, the central 95 % of N(0, 1)."""


class TraverseQuery(Drawing, ImagesQuery, TraverseParameters):
    """Query of /traverse."""


class TraverseAnswer(Answer):
    """The latents of the grid and their images."""

    dims: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(examples=[[0]])]
    """The latent indices that change, the slowest first."""
    steps: Annotated[int, Field(ge=2)]
    """Points along each of them."""
    spacing: Spacing
    """Their spacing."""
    span: Annotated[float, Field(examples=[DEFAULT_SPAN])]
    """Their extent to either side of 0."""
    z: Latents
    images: Images


TRAVERSE: Final = Operation(
    path="/traverse",
    methods=("GET", "POST"),
    summary="Images along one or two latent dimensions",
    description=(
        "Decodes a grid: one or two latent dimensions take values on both sides of 0. Every other "
        "dimension keeps its value in the mu of the image, in the one row of `z`, or in the "
        "origin. The first of two dimensions changes from row to row and the second along each, "
        "in the arrays as in a PNG. It involves no randomness."
    ),
    query=TraverseQuery,
    body=TraverseParameters,
    answer=TraverseAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES, Z),
    is_array_optional=True,
    rows=1,
    example=MappingProxyType({"dims": (0,), "steps": 3}),
    example_rows=3,
)


@TRAVERSE.handler
async def traverse(call: Call[TraverseQuery]) -> TraverseAnswer:
    """A grid of images along one or two latent dimensions."""
    asked = _asked(call)
    images = asked["steps"] ** _axes(call)
    call.counts(images)
    call.refuse_too_many(images)
    grid = await engine.traverse(
        call.engine_model, x=call.arrays.get("images"), z=call.arrays.get("z"), call=call.engine_call, **asked
    )
    return TraverseAnswer(
        model=call.model.label,
        dims=grid.dims,
        steps=grid.steps,
        spacing=grid.spacing,
        span=grid.span,
        z=grid.z,
        images=grid.x_hat,
    )


@TRAVERSE.outline
def outline(call: Call[TraverseQuery]) -> Outline:
    """Number of images in the grid."""
    asked = _asked(call)
    plan = engine.plan_traverse(call.engine_model, **asked)
    filled_in = {"dims": plan.dims, "steps": asked["steps"], "spacing": plan.spacing, "span": plan.span}
    return Outline(plan.count, parameters=filled_in)


def _asked(call: Call[TraverseQuery]) -> dict[str, Any]:
    """The parameters for the engine; a PNG has one path per row."""
    asked = call.parameters
    steps = call.columns = chosen_steps(call, asked.steps, axes=_axes(call))
    return {
        "dims": asked.dims,
        "steps": steps,
        "spacing": asked.spacing,
        "span": DEFAULT_SPAN if asked.span is None else asked.span,
    }


def _axes(call: Call[TraverseQuery]) -> int:
    dims = call.parameters.dims
    return len(dims) if dims is not None else min(2, call.model.latent_size)
