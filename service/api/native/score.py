"""/score: how likely the model finds each image."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from service import engine
from service.api.answer import Answer, PerImage, SeedFact
from service.api.call import Call
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import ImagesQuery, Seed
from service.api.request_arrays import IMAGES
from service.engine import Binarise
from service.http.parameters import AtMost, Parameters


class ScoreParameters(Parameters):
    """The precision of the score."""

    importance_samples: Annotated[int | None, Field(ge=1, examples=[16]), AtMost("max_score_draws")] = None
    """K: posterior draws of each image for `log_px`. Images times K are at most `max_score_draws` of GET
    /limits; the first K draws are the same for every larger K. Left out: no `log_px`."""
    seed: Seed = None
    """Seed of the draws and of the binarisation: the same seed yields the same figures, and those of image
    *i* do not depend on other images. Left out: a random one, which the response and `X-Seed` contain."""
    binarise: Annotated[Binarise | None, Field(examples=["dynamic"])] = None
    """A Bernoulli likelihood applies to binary images. `dynamic`: every pixel is drawn from its grey level,
    by the seed; 0 and 1 are unchanged. `none`: the pixels are unchanged, and grey ones are rejected. Left
    out: `dynamic`, and for a Gaussian likelihood, which accepts grey pixels, `none`, its only value."""


class ScoreQuery(ImagesQuery, ScoreParameters):
    """Query of /score."""


class ScoreAnswer(Answer):
    """The terms of the bound on log p(x), one number for each image, in nats."""

    as_npz: ClassVar[str] = (
        "The arrays of the JSON answer as float64, and its numbers, as numpy.savez writes them."
    )

    seed: SeedFact
    """Send it again to get the same figures."""
    likelihood: Literal["bernoulli", "gaussian"]
    """The domain of the figures: binary images, or a density of grey ones."""
    binarise: Binarise
    """`dynamic`: grey pixels were drawn by the seed."""
    importance_samples: Annotated[Annotated[int, Field(ge=1)] | None, Field(examples=[16])]
    """K of log_px; null if it was not requested."""
    reconstruction_nll: Annotated[PerImage, Field(examples=[86.481])]
    """-log p(x|z) in nats, at one z drawn from q(z|x)."""
    kl: Annotated[PerImage, Field(examples=[29.971])]
    """KL(q(z|x) ‖ p(z)) in nats: in closed form for N(0, I). A learned prior has only an estimate at the same
    z, which may be negative."""
    elbo: Annotated[PerImage, Field(examples=[-116.452])]
    """-(reconstruction_nll + kl) in nats: an estimate of a lower bound on log p(x)."""
    bits_per_dim: Annotated[PerImage, Field(examples=[0.21429])]
    """-elbo ÷ (pixel values · ln 2): falls as the model explains an image better."""
    log_px: Annotated[PerImage | None, Field(examples=[-115.141])] = None
    """log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x) in nats: an estimate of a bound that rises with K towards
    log p(x). Only with importance_samples."""
    bits_per_dim_iw: Annotated[PerImage | None, Field(examples=[0.21188])] = None
    """-log_px ÷ (pixel values · ln 2). Only with importance_samples."""


SCORE: Final = Operation(
    path="/score",
    summary="How likely the model finds each image",
    description=(
        "For each image the terms of the evidence lower bound, `elbo` = -(`reconstruction_nll` + "
        "`kl`), with one z drawn from the posterior. With `importance_samples` also the "
        "importance-weighted bound `log_px` (arXiv:1509.00519, equation 8), which on average is "
        "at least as near to log p(x) as `elbo`, and comes nearer as K grows. All are estimates "
        "by `seed`, in nats under the prior of training: N(0, I), or a learned one.\n\nThey do not "
        "prove that an image is unusual. Images unlike any in training can score better than those of "
        "training (arXiv:1810.09136), so a score is no evidence of an anomaly. Compare images only under "
        "one version with one binarisation: other versions may have another likelihood, and for a "
        "Gaussian one these are densities, which may be positive."
    ),
    query=ScoreQuery,
    body=ScoreParameters,
    answer=ScoreAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES,),
    problems=("no-density",),
    example=MappingProxyType({"importance_samples": 16, "seed": 1}),
)


@SCORE.handler
async def score(call: Call[ScoreQuery]) -> ScoreAnswer:
    """Evidence lower bound of each image and its terms, in nats."""
    asked = call.parameters
    scores = await engine.score(
        call.engine_model,
        call.arrays["images"],
        importance_samples=asked.importance_samples,
        seed=asked.seed,
        binarise=asked.binarise,
        max_draws=call.limits.max_score_draws,
        call=call.engine_call,
    )
    log_px = scores.log_px
    likelihood = call.model.manifest.likelihood.name
    assert likelihood != "unknown", "the engine has refused it"
    return ScoreAnswer(
        model=call.model.label,
        seed=scores.seed,
        likelihood=likelihood,
        binarise=scores.binarise,
        importance_samples=scores.importance_samples,
        reconstruction_nll=scores.reconstruction_nll,
        kl=scores.kl,
        elbo=scores.elbo,
        bits_per_dim=scores.bits_per_dim(scores.elbo),
        log_px=log_px,
        bits_per_dim_iw=None if log_px is None else scores.bits_per_dim(log_px),
    )
