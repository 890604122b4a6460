"""/score: how likely the model finds each image."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from model_store.calibration import Calibration, Figure
from model_store.thresholds import flags, quantiles
from service import engine
from service.api.answer import Answer, FlagPerImage, PerImage, SeedFact
from service.api.call import Call
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import ImagesQuery, Seed
from service.api.request_arrays import IMAGES
from service.engine import Binarise, InvalidParameter, NoThresholds, Scores
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
    flag: Annotated[bool | None, Field(examples=[True])] = None
    """Compare each image with the normal images that the version was calibrated with: their quantile of each
    figure, and whether a threshold is exceeded. Only for versions from `vae-store calibrate`."""


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
    flagged_by: Annotated[Figure | None, Field(examples=["negative_elbo"])] = None
    """The figure whose threshold flags an image; `negative_elbo` is -elbo. Only with flag."""
    rate: Annotated[float | None, Field(examples=[0.01])] = None
    """The share of normal images that are flagged. Only with flag."""
    threshold: Annotated[float | None, Field(examples=[131.25])] = None
    """The value of `flagged_by`, in nats, beyond which an image is flagged. Only with flag."""
    flags: Annotated[FlagPerImage | None, Field(examples=[False])] = None
    """Whether the figure of the image exceeds the threshold. Only with flag."""
    reconstruction_nll_quantile: Annotated[PerImage | None, Field(examples=[0.41])] = None
    """Share of normal images with a smaller reconstruction_nll. Only with flag."""
    kl_quantile: Annotated[PerImage | None, Field(examples=[0.77])] = None
    """Share of normal images with a smaller kl. Only with flag."""
    negative_elbo_quantile: Annotated[PerImage | None, Field(examples=[0.52])] = None
    """Share of normal images with a smaller -elbo. Only with flag."""


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
        "Gaussian one these are densities, which may be positive.\n\nWith `flag`, a version that `vae-store "
        "calibrate` made from your own normal images says for each image how it compares with them: the "
        "share of normal images with a smaller figure, and whether it exceeds the threshold that a stated "
        "share of normal images exceeds. A flag is no proof either: measure with images of the other kind."
    ),
    query=ScoreQuery,
    body=ScoreParameters,
    answer=ScoreAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES,),
    problems=("no-density", "no-thresholds"),
    example=MappingProxyType({"importance_samples": 16, "seed": 1}),
    not_in_example=(
        *("flagged_by", "rate", "threshold", "flags"),
        *("reconstruction_nll_quantile", "kl_quantile", "negative_elbo_quantile"),
    ),
)


@SCORE.handler
async def score(call: Call[ScoreQuery]) -> ScoreAnswer:
    """Evidence lower bound of each image and its terms, in nats."""
    asked = call.parameters
    calibration = _calibration(call, asked) if asked.flag else None
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
        **({} if calibration is None else _compared(calibration, scores)),
    )


def _calibration(call: Call[ScoreQuery], asked: ScoreQuery) -> Calibration:
    """The thresholds of the version, before anything runs.

    Raises:
        NoThresholds: It has none.
        InvalidParameter: They apply to another binarisation.
    """
    calibration = call.model.manifest.calibration
    if calibration is None:
        if call.engine_model.has_posterior:
            raise NoThresholds(call.model.label)
        raise engine.NoDensity(call.model.label)
    if asked.binarise not in (None, calibration.binarise):
        raise InvalidParameter(
            "binarise",
            f"{calibration.binarise} with flag, as the version was calibrated",
            asked.binarise or "",
            "Leave it out.",
        )
    return calibration


def _compared(calibration: Calibration, scores: Scores) -> dict[str, Any]:
    """The images among the normal ones."""
    figures = scores.figures
    return {
        "flagged_by": calibration.flagged_by,
        "rate": calibration.rate,
        "threshold": calibration.figure(calibration.flagged_by).threshold,
        "flags": flags(calibration, figures[calibration.flagged_by]),
        **{f"{name}_quantile": quantiles(calibration, name, values) for name, values in figures.items()},
    }
