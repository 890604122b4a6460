"""/sample: new images, drawn from a prior."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from model_store.manifest import MAX_LABEL_CHARACTERS
from service import engine
from service.api.answer import Answer, Header, Images, Latents, SeedFact
from service.api.call import Call, Outline
from service.api.operation import Operation
from service.api.parameters import Drawing, Seed
from service.engine import Parts
from service.http.negotiation import Format
from service.http.parameters import AtMost, Parameters
from service.http.request_body import BodyKind

#: Number of images if `n` is left out.
DEFAULT_IMAGES: Final = 1
DEFAULT_IMAGES_AS_TEXT: Final = 10

Prior = Literal["standard", "fitted", "learned"]


class SampleParameters(Parameters):
    """Parameters of the draw."""

    n: Annotated[int | None, Field(ge=1, examples=[4]), AtMost("max_stream_images")] = None
    """Number of images. Left out: 1, or 10 as text, which is two rows on a terminal. More than `max_images`
    of GET /limits only as npy, which is sent part by part."""
    seed: Seed = None
    """Seed of all randomness: the same seed of the same version yields the same z and pixels, and image *i*
    does not depend on `n`. Left out: a random one, which the response and `X-Seed` contain."""
    temperature: Annotated[float | None, Field(ge=0.0, le=10.0, allow_inf_nan=False, examples=[0.8])] = None
    """Factor on the noise: with `prior=standard` the standard deviation of z, with the others the spread
    around each Gaussian's mean. Left out: 1, the prior itself; smaller values yield more typical images,
    larger ones stranger images."""
    prior: Annotated[Prior | None, Field(examples=["standard"])] = None
    """`standard`: N(0, I), the prior of training. `fitted`: a mixture of Gaussians, fitted to the latents of
    the training images. `learned`: the only prior of a version that was trained with it in place of N(0, I).
    Left out: the best prior of the version; `X-Prior` names it."""
    label: Annotated[str | None, Field(max_length=MAX_LABEL_CHARACTERS, examples=["7"])] = None
    """Draw only images of this label, from the Gaussians that belong to it. GET /models lists the labels."""


class SampleQuery(Drawing, SampleParameters):
    """Query of /sample."""


class SampleAnswer(Answer):
    """Images, with everything needed to draw them again."""

    headers: ClassVar[Mapping[str, Header]] = MappingProxyType(
        {
            "temperature": Header("X-Temperature", "The temperature of the response."),
            "prior": Header("X-Prior", "The prior of the response: `standard`, `fitted` or `learned`."),
            "label": Header("X-Label", "The requested label, percent-encoded, if there was one."),
        }
    )

    prior: Prior
    """The prior of z."""
    label: Annotated[str | None, Field(examples=[None])]
    """The requested label."""
    seed: SeedFact
    """Send it again to get the same z and pixels."""
    temperature: Annotated[float, Field(examples=[1.0])]
    """Factor on the noise."""
    z: Latents
    images: Images


SAMPLE: Final = Operation(
    path="/sample",
    methods=("GET", "POST"),
    summary="New images, drawn from a prior",
    description=(
        "Draws z from a prior and decodes it. `standard` is N(0, temperature² I). `fitted` is a "
        "mixture of Gaussians that was fitted to the training images; the temperature scales its "
        "spread. `learned` is the prior of a version that was trained with it: a mixture of Gaussians "
        "behind an invertible map to z. With a `label`, z comes from the mixture of its images alone. "
        "The same seed of the "
        "same version always yields the same z and pixels: image *i* of a seed does not depend on "
        "`n`, on other requests or on a restart. The bytes of the file around them are the same "
        "within a release. Parameters are in the query, or, with POST, in a JSON object; one in "
        "both places is rejected."
    ),
    query=SampleQuery,
    body=SampleParameters,
    answer=SampleAnswer,
    bodies=MappingProxyType({BodyKind.JSON: '-d \'{"n": 4, "seed": 7}\''}),
    problems=("no-prior", "unknown-label"),
    example=MappingProxyType({"n": 1, "seed": 7}),
)


@SAMPLE.handler
async def sample(call: Call[SampleQuery]) -> SampleAnswer | Parts:
    """Images drawn from the prior by a seed."""
    n = _count(call)
    if call.is_long(n):
        call.counts(n)
        return engine.sample_in_parts(
            call.engine_model,
            n=n,
            max_images=call.most_streamed,
            call=call.engine_call,
            part_limit_s=call.part_limit_s,
            **_asked(call),
        )
    call.counts(n)
    drawn = await engine.sample(call.engine_model, n=n, call=call.engine_call, **_asked(call))
    return SampleAnswer(
        model=call.model.label,
        prior=drawn.prior,
        label=drawn.label,
        seed=drawn.seed,
        temperature=drawn.temperature,
        z=drawn.z,
        images=drawn.x_hat,
    )


@SAMPLE.outline
def outline(call: Call[SampleQuery]) -> Outline:
    """The parameters of the draw; without a seed, GET draws another."""
    n = _count(call)
    most = call.most_streamed if call.is_long(n) else call.model.max_batch
    plan = engine.plan_sample(call.engine_model, n=n, max_images=most, **_asked(call))
    facts = {
        "temperature": plan.temperature,
        "prior": plan.density.prior,
        "label": plan.density.label,
    }
    return Outline(n, call.parameters.seed, facts, {**facts, "n": n})


def _count(call: Call[SampleQuery]) -> int:
    """The requested number, or a suitable one for the format and the server's limits."""
    if call.parameters.n is not None:
        return call.parameters.n
    default = DEFAULT_IMAGES_AS_TEXT if call.format is Format.TEXT else DEFAULT_IMAGES
    return max(1, min(default, call.most_images))


def _asked(call: Call[SampleQuery]) -> dict[str, Any]:
    asked = call.parameters
    return {
        "seed": asked.seed,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "prior": asked.prior,
        "label": asked.label,
    }
