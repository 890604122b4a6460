"""The section on the latent space: labels of codes, how evenly they fill it, the role of each latent.

Knows codes, labels, posteriors and the judge. Knows nothing of likelihoods or of sampling new images.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from training.evaluation.evaluation_context import EvaluationContext, is_spatial, latent_names
from training.evaluation.measures.codes import evenness, linear_probe_accuracy, neighbour_agreement, whitened
from training.evaluation.report.section_results import Figure, Picture, SectionResult
from training.models import StandardNormal
from training.objectives.estimators import Posteriors
from training.plots import charts, grids

_NEIGHBOURS = 10
_ELLIPSES = 60
_TRAVERSED = 12
_TRAVERSAL = (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0)
_MAP_SIDE = 20
_DISPLACED_IMAGES = 1000
#: Noise on a code, in standard deviations of all codes of that latent.
_DISPLACEMENT = 0.3
_DISPLACED_SHOWN, _DISPLACED_COLUMNS = 8, 10
#: Numbers of the noise streams.
_DISPLACE, _CHOOSE_DISPLACED, _CHOOSE_ELLIPSES = 10, 11, 12
_CHOOSE_TRAVERSED, _CHOOSE_SHOWN, _DISPLACE_SHOWN = 13, 14, 15


def find_latents(bench: EvaluationContext) -> SectionResult:
    """Measure and plot the codes of the test images."""
    order = _by_importance(bench.model.kind, bench.posteriors)
    figures = [*_readable_by_labels(bench), *_evenness(bench, order)]
    pictures = [] if len(order) == 1 else [_scatter(bench, order)]
    if bench.model.latent_size == 2 and bench.model.kind == "vae" and _is_normal(bench):
        pictures.append(_manifold(bench))
    pictures.append(_traversals(bench, order))
    pictures.append(_displaced_picture(bench))
    if bench.judge is not None:
        figures.append(_displaced_agreement(bench))
    return SectionResult(
        key="latents",
        title="Latent space",
        about=(
            "The positions of images in the latent space: whether similar images are close together, "
            "whether codes fill the space from which samples are drawn, and how an image changes when "
            f"its code moves.{_without_probe(bench)}"
        ),
        figures=tuple(figures),
        pictures=tuple(pictures),
    )


def _by_importance(kind: str, moments: Posteriors) -> Int64[np.ndarray, " latent"]:
    """Latents by mean KL, largest first; for an autoencoder, which has no KL, by variance."""
    vae = kind == "vae"
    weight = moments.mean_kl_per_dimension() if vae else moments.mu.var(dim=0, correction=0)
    return np.argsort(-weight.numpy(), kind="stable")


def _readable_by_labels(bench: EvaluationContext) -> list[Figure]:
    labels, train_labels = bench.labels(), bench.data.train.labels
    if labels is None or train_labels is None or int(train_labels.min()) == int(train_labels.max()):
        return []
    train, test = bench.data.train, bench.data.test
    neighbours = min(_NEIGHBOURS, len(labels) - 1)
    agreement = Figure(
        name="neighbour_agreement",
        value=neighbour_agreement(bench.posteriors.z.numpy(), labels, neighbours=neighbours),
        unit="share",
        protocol=f"of the {neighbours} nearest other z, those with the label of the image; "
        f"{_z_protocol(bench)}",
        better="higher",
    )
    if is_spatial(bench):
        return [agreement]
    return [
        Figure(
            name="linear_probe_accuracy",
            value=linear_probe_accuracy(
                bench.train_mu, train_labels.numpy(), test_codes=bench.mu, test_labels=labels
            ),
            unit="share",
            protocol=(
                f"logistic regression from mu to the label, fitted on all {len(train):,} images of "
                f"{train.name}, tested on all {len(test):,} of {test.name}; grey pixels"
            ),
            better="higher",
        ),
        agreement,
    ]


def _without_probe(bench: EvaluationContext) -> str:
    """A note about the figure that spatial latents do not have."""
    if not is_spatial(bench) or bench.labels() is None:
        return ""
    return (
        " Labels are compared with the nearest codes alone: a regression on thousands of latents would fit "
        "the training images by heart."
    )


def _evenness(bench: EvaluationContext, order: Int64[np.ndarray, " latent"]) -> list[Figure]:
    if len(order) == 1 or not _is_normal(bench):
        return []  # a learned prior need not be even in z
    points = bench.posteriors.z.numpy()[:, order[:2]]
    meant = "N(0, I), from which samples are drawn"
    if bench.model.kind == "ae":
        points = whitened(points)
        meant = "the Gaussian with their own mean and covariance, since an autoencoder has no prior"
    even = evenness(points)
    protocol = (
        f"latents {order[0]} and {order[1]}; {even.side} × {even.side} cells, all equally likely under "
        f"{meant}; {_z_protocol(bench)}"
    )
    return [
        Figure(
            name="scatter_evenness",
            value=even.evenness,
            unit="share",
            protocol=f"exp(entropy of the cells) ÷ cells, 1 if all contain the same number; {protocol}",
            better="higher",
        ),
        Figure(
            name="scatter_holes",
            value=even.empty,
            unit="share",
            protocol=f"cells with less than a tenth of their even share; {protocol}",
            better="lower",
        ),
    ]


def _is_normal(bench: EvaluationContext) -> bool:
    return isinstance(bench.model.prior, StandardNormal)


def _z_protocol(bench: EvaluationContext) -> str:
    what = "one z drawn for each" if bench.model.kind == "vae" else "the code of each"
    return f"{bench.observations.protocol()}; {what}"


def _scatter(bench: EvaluationContext, order: Int64[np.ndarray, " latent"]) -> Picture:
    first, second = order[:2].tolist()
    mu = bench.posteriors.mu.numpy()[:, [first, second]]
    sigma = torch.exp(0.5 * bench.posteriors.logvar).numpy()[:, [first, second]]
    vae = bench.model.kind == "vae"
    chosen = bench.choice(_ELLIPSES if vae else 0, len(mu), _CHOOSE_ELLIPSES)
    which = "" if len(order) == 2 else f" in the two of {len(order)} latents with the most information"
    ellipses = (
        f" Ellipses are the posteriors of {len(chosen)} images, two standard deviations to each side: a VAE "
        "maps an image to a region."
        if vae
        else " An autoencoder maps an image to a point."
    )
    return Picture(
        name="scatter",
        caption=f"Codes of the test images{which}, by label.{ellipses}",
        png=charts.scatter(
            mu,
            bench.labels(),
            axis_names=(f"mu of latent {first}", f"mu of latent {second}"),
            centres=mu[chosen],
            sigmas=sigma[chosen],
            label_names=bench.data.label_names,
        ),
    )


def _manifold(bench: EvaluationContext) -> Picture:
    """Quantiles of the prior on both axes: equal areas have equal probability (arXiv:1312.6114, figure 4)."""
    middles = (torch.arange(_MAP_SIDE, dtype=torch.float64) + 0.5) / _MAP_SIDE
    quantiles = torch.special.ndtri(middles).numpy()
    across, down = np.meshgrid(quantiles, quantiles[::-1])
    z = np.stack([across.ravel(), down.ravel()], axis=1)
    return Picture(
        name="manifold",
        caption=(
            f"The whole plane: {_MAP_SIDE} × {_MAP_SIDE} decoded z at the quantiles of the prior, "
            "latent 0 to the right, latent 1 upwards. Each image represents an equal part of all "
            "samples."
        ),
        png=grids.sample_png(bench.decode(z, "manifold"), columns=_MAP_SIDE, scale=1, gap_pixels=0),
    )


def _traversals(bench: EvaluationContext, order: Int64[np.ndarray, " latent"]) -> Picture:
    shown = order[:_TRAVERSED]
    vae = bench.model.kind == "vae"
    start = bench.mu[bench.choice(1, len(bench.mu), _CHOOSE_TRAVERSED)]
    centre, scale = (
        (np.zeros(start.shape[1]), np.ones(start.shape[1]))
        if vae
        else (bench.mu.mean(axis=0), bench.mu.std(axis=0))
    )
    z = np.repeat(start, len(shown) * len(_TRAVERSAL), axis=0)
    for row, latent in enumerate(shown.tolist()):
        for column, value in enumerate(_TRAVERSAL):
            z[row * len(_TRAVERSAL) + column, latent] = centre[latent] + value * scale[latent]
    kl = bench.posteriors.mean_kl_per_dimension()
    names = [
        f"{place}: {kl[latent]:.2f} nats" if vae else f"{place}: σ {scale[latent]:.2f}"
        for latent, place in zip(shown.tolist(), latent_names(bench, shown), strict=True)
    ]
    number = "channel, row and column" if is_spatial(bench) else "the number"
    by, beside = ("KL", "mean KL") if vae else ("variance", "standard deviation σ over the test images")
    return Picture(
        name="traversals",
        caption="One test image with one latent moved at a time, from -3 to 3 standard deviations of "
        f"{'N(0, 1)' if vae else 'the codes'}; the {len(shown)} of {len(order)} latents with the largest "
        f"{by}, in that order. On the left {number} of the latent and its {beside}.",
        png=charts.labelled_rows(
            bench.decode(z, "traversals"),
            columns=len(_TRAVERSAL),
            row_names=names,
            column_names=[f"{value:+g}" if value else "0" for value in _TRAVERSAL],
        ),
    )


def _displaced_agreement(bench: EvaluationContext) -> Figure:
    """Does a neighbourhood of a code decode to the same digit?"""
    assert bench.judge is not None
    chosen = bench.choice(_DISPLACED_IMAGES, len(bench.mu), _CHOOSE_DISPLACED)
    moved = _displaced(bench, bench.mu[chosen], _DISPLACE)
    seen = bench.judge.ask(moved).labels
    return Figure(
        name="displaced_same_digit",
        value=(seen == bench.verdicts.labels[chosen]).double().mean().item(),
        unit="share",
        protocol=(
            f"a random {len(chosen):,} of the {len(bench.mu):,} images of {bench.data.test.name}; the "
            f"judge finds the same label in the image and after noise of {_DISPLACEMENT:g} standard "
            f"deviations of all codes was added to mu; seed {bench.seed}"
        ),
        better="higher",
    )


def _displaced_picture(bench: EvaluationContext) -> Picture:
    chosen = bench.choice(_DISPLACED_SHOWN, len(bench.mu), _CHOOSE_SHOWN)
    rows = np.repeat(bench.mu[chosen], _DISPLACED_COLUMNS, axis=0)
    moved = _displaced(bench, rows, _DISPLACE_SHOWN)
    columns = moved.view(len(chosen), _DISPLACED_COLUMNS, *moved.shape[1:])
    sheet = torch.cat(
        [bench.images(chosen).unsqueeze(1), bench.reconstructed(chosen).unsqueeze(1), columns], dim=1
    )
    return Picture(
        name="displaced",
        caption=(
            f"Test images, their reconstructions, and {_DISPLACED_COLUMNS} decoded neighbours of each "
            f"code, {_DISPLACEMENT:g} standard deviations of all codes away in every latent."
        ),
        png=grids.sample_png(sheet.flatten(0, 1), columns=_DISPLACED_COLUMNS + 2, scale=2),
    )


def _displaced(
    bench: EvaluationContext, mu: Float64[np.ndarray, "m latent"], number: int
) -> Float[torch.Tensor, "m c h w"]:
    noise = bench.normal(len(mu), number) * bench.mu.std(axis=0)
    return bench.decode(mu + _DISPLACEMENT * noise, "displaced codes")
