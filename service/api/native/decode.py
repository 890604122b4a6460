"""/decode: latents to images."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from service import engine
from service.api.answer import Answer, Images
from service.api.call import Call
from service.api.operation import Operation
from service.api.parameters import Drawing
from service.api.request_arrays import Z
from service.engine import Parts
from service.http.request_body import BodyKind


class DecodeAnswer(Answer):
    """The image of each latent."""

    images: Images


DECODE: Final = Operation(
    path="/decode",
    summary="Latents to images",
    description="The decoder's mean image of each row of `z`. It involves no randomness.",
    query=Drawing,
    answer=DecodeAnswer,
    bodies=MappingProxyType(
        {
            BodyKind.JSON: "-d @z.json",
            BodyKind.NPY: "--data-binary @z.npy",
            BodyKind.SAFETENSORS: "--data-binary @latents.safetensors",
        }
    ),
    arrays=(Z,),
)


@DECODE.handler
async def decode(call: Call[Drawing]) -> DecodeAnswer | Parts:
    """Decode each latent; a long response is sent part by part."""
    z = call.arrays["z"]
    if call.is_long(len(z)):
        return engine.decode_in_parts(
            call.engine_model,
            z,
            max_images=call.most_streamed,
            call=call.engine_call,
            part_limit_s=call.part_limit_s,
        )
    x_hat = await engine.decode(call.engine_model, z, call=call.engine_call)
    return DecodeAnswer(model=call.model.label, images=x_hat)
