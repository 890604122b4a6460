"""/reconstruct: encode and decode images."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from service import engine
from service.api.answer import Answer, Images, Latents, SeedFact
from service.api.call import Call
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import Drawing, ImagesQuery, Seed
from service.api.request_arrays import IMAGES
from service.http.parameters import Parameters


class ReconstructParameters(Parameters):
    """The choice of z from the posterior."""

    sample: Annotated[bool | None, Field(examples=[True])] = None
    """False or left out: z = mu, the same for every request. True: z = mu + sigma * eps."""
    seed: Seed = None
    """Seed of eps if `sample` is true; left out, a random one, which the response contains. Without `sample`
    it has no effect."""


class ReconstructQuery(Drawing, ImagesQuery, ReconstructParameters):
    """Query of /reconstruct."""


class ReconstructAnswer(Answer):
    """Reconstructions, and the latents in between."""

    sample: bool
    """Whether z was drawn rather than set to mu."""
    seed: Annotated[SeedFact | None, Field(examples=[None])]
    """Send it again to get the same z and pixels. Null if nothing was drawn."""
    z: Latents
    images: Images


RECONSTRUCT: Final = Operation(
    path="/reconstruct",
    summary="Reconstructions of images",
    description=(
        "Encodes each image, takes z = mu (or, with `sample`, z = mu + sigma * eps) and decodes "
        "it. `sample` and `seed` are parameters of the query, or keys of the JSON object with "
        "`images`; one in both places is rejected."
    ),
    query=ReconstructQuery,
    body=ReconstructParameters,
    answer=ReconstructAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES,),
)


@RECONSTRUCT.handler
async def reconstruct(call: Call[ReconstructQuery]) -> ReconstructAnswer:
    """Encode and decode each image, with the posterior mean or a sample of it."""
    is_drawn = bool(call.parameters.sample)
    call.refuse_too_many(len(call.arrays["images"]))
    back = await engine.reconstruct(
        call.engine_model,
        call.arrays["images"],
        sample=is_drawn,
        seed=call.parameters.seed if is_drawn else None,
        call=call.engine_call,
    )
    return ReconstructAnswer(
        model=call.model.label, sample=is_drawn, seed=back.seed, z=back.z, images=back.x_hat
    )
