"""The section on likelihood: the bound and its parts, the parts of its KL, and the cost of the mean image.

Knows the evaluation, the split of the KL and the simplest possible model. Knows nothing of plots of latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from model_store import GaussianLikelihood
from training.data import ImageSet, to_unit_interval
from training.evaluation.evaluation_context import EvaluationContext, is_spatial
from training.evaluation.figures import Evaluation, evaluate
from training.evaluation.measures.active_latents import active_latents
from training.evaluation.measures.aggregate_posterior import Surgery, elbo_surgery
from training.evaluation.report.section_results import Better, Figure, Picture, SectionResult
from training.models import StandardNormal
from training.plots import charts

_BETTER: dict[str, Better] = {
    "negative_elbo": "lower",
    "reconstruction_nll": "lower",
    "nll_iw": "lower",
    "reconstruction_rmse": "lower",
    "mean_image_rmse": "neither",
    "pca_rmse": "neither",
}
#: Within this of ln N (nats) the estimate of I(x; z) is only a lower bound.
_AT_THE_CAP_NATS = 0.1
#: A fixed σ and the residuals may differ by this factor without a warning.
_SIGMA_FACTOR = 2.0


def find_likelihood(
    bench: EvaluationContext, *, importance_samples: int, importance_images: int | None
) -> tuple[Evaluation, SectionResult]:
    """Measure the bound; for a VAE also the likelihood and the parts of its KL term."""
    evaluation = evaluate(
        bench.model,
        bench.data.test,
        train=bench.data.train,
        importance_samples=importance_samples,
        importance_images=importance_images,
        seed=bench.seed,
        progress=bench.progress,
    )
    figures = [
        Figure(
            name=metric.name,
            value=metric.value,
            unit=metric.unit,
            protocol=metric.protocol,
            better=_BETTER.get(metric.name, "neither"),
        )
        for metric in evaluation.metrics
    ]
    baseline = _mean_image(bench)
    figures.append(baseline)
    pictures, series = [], {}
    if bench.model.kind == "vae":
        moments = bench.posteriors
        mean_kl = None if _is_normal(bench) else evaluation["kl"]
        figures += _surgery(bench, elbo_surgery(moments.mu, moments.logvar, moments.z, mean_kl=mean_kl))
        series["kl_per_dimension"] = evaluation.kl_per_dimension
        pictures.append(_kl_bars(bench, evaluation))
    findings = SectionResult(
        key="likelihood",
        title="Likelihood",
        about=(
            "How well the model explains new images, in nats of log-likelihood per image, and the share "
            "of its latents. The mean image is the simplest possible model: a useful one is far below."
        ),
        figures=tuple(figures),
        pictures=tuple(pictures),
        series=series,
        alarms=tuple(_alarms(bench, evaluation, baseline.value)),
    )
    return evaluation, findings


def _surgery(bench: EvaluationContext, surgery: Surgery) -> list[Figure]:
    protocol = (
        f"{bench.observations.protocol()}; q(z) the mixture of these posteriors, one z an image "
        f"(Hoffman & Johnson 2016), standard error {surgery.standard_error:.2f}; "
    )
    capped = surgery.mutual_information > surgery.cap - _AT_THE_CAP_NATS
    says = (
        ("; it has reached that, so I(x; z) is at least that and KL(q(z) ‖ p(z)) at most this")
        if capped
        else ""
    )
    cap = f"the estimate of I(x; z) cannot exceed ln N = {surgery.cap:.2f}{says}"
    return [
        Figure(
            name="mutual_information",
            value=surgery.mutual_information,
            unit="nats per image",
            protocol=protocol + cap,
        ),
        Figure(
            name="marginal_kl",
            value=surgery.marginal_kl,
            unit="nats per image",
            protocol=f"{protocol}the rest of the mean KL: {cap}",
        ),
    ]


def _kl_bars(bench: EvaluationContext, evaluation: Evaluation) -> Picture:
    kl = np.asarray(evaluation.kl_per_dimension, dtype=np.float64)
    q = bench.posteriors
    active = np.asarray(active_latents(q.mu, q.logvar.exp().mean(dim=0), unit_variance=_is_normal(bench)))
    what, by = "latent dimension", "latent"
    if is_spatial(bench):
        # Thousands of bars are no plot: the latents of all positions of a channel together.
        channels = bench.model.latent_shape[0]
        kl = kl.reshape(channels, -1).sum(axis=1)
        active = np.asarray(active.reshape(channels, -1).any(axis=1))
        what, by = "channel of the latents, summed over its positions,", "channel"
    order = np.argsort(-kl, kind="stable")
    return Picture(
        name="kl_per_dimension",
        caption=(
            f"KL of each {what} to {'the prior' if _is_normal(bench) else 'N(0, 1)'}, largest "
            "first: its information about the image. Grey ones hardly depend on the image."
        ),
        png=charts.bars(
            kl[order],
            names=[str(number) for number in order],
            filled=active[order],
            xlabel=by,
            ylabel="KL, nats per image",
            legend=("active", "not active"),
        ),
    )


def _is_normal(bench: EvaluationContext) -> bool:
    return isinstance(bench.model.prior, StandardNormal)


def _mean_image(bench: EvaluationContext) -> Figure:
    """Cost of a model without latents: the mean of the training images, pixel by pixel."""
    spec = bench.model.likelihood.spec()
    test, mean = bench.data.test, _pixel_means(bench.data.train)
    if isinstance(spec, GaussianLikelihood):
        # One σ for all pixels, as in the model; the best fit to the training images.
        variance = _mean_over(bench.data.train, lambda images: (images - mean).square()).mean()
        constant = variance.log() + math.log(2.0 * math.pi)
        per_pixel = _mean_over(test, lambda x: 0.5 * ((x - mean).square() / variance + constant))
        how = "Gaussian around the mean training image, one σ fitted to the training images"
    else:
        # Linear in x, so the grey level yields the expectation over binarisations.
        per_pixel = _mean_over(test, lambda x: -(x * mean.log() + (1.0 - x) * torch.log1p(-mean)))
        how = "independent Bernoulli pixels with the means of the training images; expected over binarisation"
    return Figure(
        name="nll_of_mean_image",
        value=per_pixel.sum().item(),
        unit="nats per image",
        protocol=(f"all {len(test):,} images of {test.name}; {how}; no latents: a useful model is far below"),
    )


def _pixel_means(train: ImageSet) -> Tensor:
    """Mean of each training pixel, as if one more image were half grey: never 0 or 1."""
    count = len(train)
    return (_mean_over(train, lambda images: images) * count + 0.5) / (count + 1.0)


def _mean_over(image_set: ImageSet, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over images of a sum over pixels, in float64, without all of them in memory at once."""
    total = torch.zeros(image_set.image_shape, dtype=torch.float64)
    for chunk in image_set.chunks():
        total += of(to_unit_interval(torch.from_numpy(chunk)).double()).sum(dim=0)
    return total / len(image_set)


def _alarms(bench: EvaluationContext, evaluation: Evaluation, baseline: float) -> Iterator[str]:
    yield from evaluation.warnings
    name = "negative_elbo" if "negative_elbo" in evaluation else "reconstruction_nll"
    if evaluation[name] >= baseline:
        yield (
            f"a likelihood that explains nothing: {name} is {evaluation[name]:.1f} nats, and the mean image "
            f"alone costs {baseline:.1f}. Train for longer, or check whether these are its training images."
        )
    spec = bench.model.likelihood.spec()
    if isinstance(spec, GaussianLikelihood):
        error = evaluation["reconstruction_rmse"]
        if not 1.0 / _SIGMA_FACTOR <= error / spec.sigma <= _SIGMA_FACTOR:
            yield (
                f"a likelihood that does not fit the data: σ is {spec.sigma:.3g}, and the error of "
                f"reconstructions is {error:.3g} on average (root of the mean square). Set "
                "model.likelihood.sigma near that, or learned = true."
            )
