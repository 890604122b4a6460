"""/encode: images to their posterior."""

from __future__ import annotations

from typing import Final

from service import engine
from service.api.answer import Answer, Latents
from service.api.call import Call
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import ImagesQuery
from service.api.request_arrays import IMAGES


class EncodeAnswer(Answer):
    """The posterior of each image."""

    mu: Latents
    logvar: Latents


ENCODE: Final = Operation(
    path="/encode",
    summary="Images to their posterior: mu and logvar",
    description=(
        "The diagonal Gaussian q(z|x) of each image: its mean `mu` and the log of its variance, "
        "`logvar` = log σ². It involves no randomness."
    ),
    query=ImagesQuery,
    answer=EncodeAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES,),
)


@ENCODE.handler
async def encode(call: Call[ImagesQuery]) -> EncodeAnswer:
    """The posterior of each image: `mu` and `logvar`."""
    posterior = await engine.encode(call.engine_model, call.arrays["images"], call=call.engine_call)
    return EncodeAnswer(model=call.model.label, mu=posterior.mu, logvar=posterior.logvar)
