"""/interpolate: images between two images or latents."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from service import engine
from service.api.answer import Answer, Images, Latents
from service.api.call import Call
from service.api.native.steps import Steps, chosen_steps
from service.api.operation import Operation
from service.api.parameters import Drawing, ImagesQuery
from service.api.request_arrays import IMAGES, Z
from service.engine import Method
from service.http.parameters import Parameters
from service.http.request_body import BodyKind


class InterpolateParameters(Parameters):
    """The path, and its number of steps."""

    steps: Steps = None
    """Number of images, both ends included. Left out: 8, or 5 as text, which fits a terminal."""
    method: Annotated[Method | None, Field(examples=["lerp"])] = None
    """`slerp`: along an arc in direction, while the length changes linearly. So no z on the path is shorter
    than both ends, as on the straight line (arXiv:1609.04468). If an end is zero, or both have the same or
    opposite directions, there is no single arc, and the path is straight. Rows of `z` longer than
    `max_latent` of GET /limits are rejected. `lerp`: straight. Both are paths in z. Left out: `slerp`,
    and without the prior N(0, I), for an autoencoder or with a learned prior, `lerp`."""


class InterpolateQuery(Drawing, ImagesQuery, InterpolateParameters):
    """Query of /interpolate."""


class InterpolateAnswer(Answer):
    """The latents on the path, both ends included, and their images."""

    method: Method
    """The kind of path."""
    z: Latents
    images: Images


INTERPOLATE: Final = Operation(
    path="/interpolate",
    summary="Images between two images or latents",
    description=(
        "Decodes latents on the path from one end to the other: between two images, from mu to "
        "mu, or between two rows of `z`. The first and the last image equal those of /decode for "
        "the ends, byte for byte. It involves no randomness. A picture shows all images in one row, "
        "unless `columns` is set."
    ),
    query=InterpolateQuery,
    body=InterpolateParameters,
    answer=InterpolateAnswer,
    bodies=MappingProxyType(
        {
            BodyKind.JSON: "-d @ends.json",
            BodyKind.FORM: "-F images=@from.png -F images=@to.jpg",
            BodyKind.ZIP: "--data-binary @pictures.zip",
            BodyKind.NPY: "--data-binary @images.npy",
            BodyKind.NPZ: "--data-binary @images.npz",
        }
    ),
    arrays=(IMAGES, Z),
    rows=2,
    example=MappingProxyType({"steps": 3, "method": "slerp"}),
    example_rows=3,
)


@INTERPOLATE.handler
async def interpolate(call: Call[InterpolateQuery]) -> InterpolateAnswer:
    """Images on the path between two images or two latents."""
    steps = chosen_steps(call, call.parameters.steps)
    call.columns = steps
    call.counts(steps)
    call.refuse_too_many(steps)
    path = await engine.interpolate(
        call.engine_model,
        x=call.arrays.get("images"),
        z=call.arrays.get("z"),
        steps=steps,
        method=call.parameters.method,
        call=call.engine_call,
    )
    return InterpolateAnswer(model=call.model.label, method=path.method, z=path.z, images=path.x_hat)
