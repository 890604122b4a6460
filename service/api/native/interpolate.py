"""/interpolate: images on the way between two."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from service import engine
from service.api.answer import Answer, Images, Latents
from service.api.call import Call
from service.api.native.steps import Steps, chosen_steps
from service.api.operation import Operation
from service.api.parameters import Drawing
from service.api.request_arrays import IMAGES, Z
from service.engine import Method
from service.http.parameters import Parameters
from service.http.request_body import BodyKind


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


class InterpolateAnswer(Answer):
    """The latents on the way, both ends included, and their images."""

    method: Method
    """The way that was taken."""
    z: Latents
    images: Images


INTERPOLATE: Final = Operation(
    path="/interpolate",
    summary="Images on the way between two",
    description="Decodes latents on the way from one end to the other: between two images, from mu to mu, or "
    "between two rows of `z`. The first and the last image are those that /decode gives for the ends, byte "
    "for byte. No randomness is involved. A PNG shows all in one row unless `columns` says otherwise.",
    query=InterpolateQuery,
    body=InterpolateParameters,
    answer=InterpolateAnswer,
    bodies=MappingProxyType({BodyKind.JSON: "-d @ends.json", BodyKind.NPY: "--data-binary @images.npy"}),
    arrays=(IMAGES, Z),
    rows=2,
    example=MappingProxyType({"steps": 8}),
)


@INTERPOLATE.handler
async def interpolate(call: Call[InterpolateQuery]) -> InterpolateAnswer:
    """Images on the way between two images or two latents."""
    steps = chosen_steps(call, call.parameters.steps)
    call.columns = steps
    call.counts(steps)
    path = await engine.interpolate(
        call.engine_model,
        x=call.arrays.get("images"),
        z=call.arrays.get("z"),
        steps=steps,
        method=call.parameters.method,
        call=call.engine_call,
    )
    return InterpolateAnswer(model=call.model.label, method=path.method, z=path.z, images=path.x_hat)
