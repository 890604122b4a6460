"""The section on samples, one for each prior: are they recognisable, realistic and diverse?

Knows priors, decoded images and the judge. Without a judge there are images and the density of the prior:
only an eye can say whether they show anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from training.data import to_unit_interval
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.measures.distributions import density_and_coverage, frechet_distance
from training.evaluation.report.priors import SamplePrior, priors_of
from training.evaluation.report.section_results import Figure, Picture, SectionResult
from training.judge.classifier import Verdicts
from training.plots import charts, grids

_SHOWN = 96
_LABELS_SHOWN, _OF_EACH_LABEL = 24, 12
_WORST = 48
_COLUMNS = 16
_NEIGHBOURS = 5
#: Numbers of the noise streams.
_DRAW, _CHOOSE_FLOOR = 30, 31


def find_samples(bench: EvaluationContext) -> list[SectionResult]:
    """Draw from every prior; as many images as test images, for a fair comparison."""
    real = None if bench.judge is None else _real(bench)
    return [_findings(bench, prior, real) for prior in priors_of(bench)]


@dataclass(frozen=True, eq=False)
class _Real:
    """Features of real images, and the same figures for training images instead of samples."""

    features: Float64[np.ndarray, "n feature"]
    neighbours: int
    distance: float
    density: float
    coverage: float
    floor: str
    """The images behind these three figures."""


def _real(bench: EvaluationContext) -> _Real:
    """Features of the test images and of as many training images: the best possible sampler."""
    assert bench.judge is not None
    chosen = bench.choice(bench.count, len(bench.data.train), _CHOOSE_FLOOR)
    images = to_unit_interval(bench.data.train.images[torch.from_numpy(chosen)])
    verdicts = bench.judge.ask(images, what="judging training images", progress=bench.progress)
    features, others = (each.features.double().numpy() for each in (bench.verdicts, verdicts))
    neighbours = min(_NEIGHBOURS, len(features) - 1)
    density, coverage = density_and_coverage(features, others, neighbours=neighbours)
    return _Real(
        features=features,
        neighbours=neighbours,
        distance=frechet_distance(others, features),
        density=density,
        coverage=coverage,
        floor=f"{len(chosen):,} random images of {bench.data.train.name} in place of samples",
    )


def _findings(bench: EvaluationContext, prior: SamplePrior, real: _Real | None) -> SectionResult:
    count = bench.count
    asked = _asked_labels(bench, prior, count)
    z = prior.draw(count, bench.generator(_DRAW), asked)
    rows = np.arange(min(_SHOWN, count)) if asked is None else _rows_of_each(bench, asked)
    # Only the judge looks at all of them.
    images = bench.decode(z[rows] if bench.judge is None else z, f"samples ({prior.name})")
    shown = images if bench.judge is None else images[torch.from_numpy(rows)]
    pictures = [_first(prior, shown) if asked is None else _first_of_each(bench, prior, shown, asked)]
    figures = list(_density(bench, prior))
    series: dict[str, tuple[float, ...]] = {}
    if bench.judge is not None and real is not None:
        verdicts = bench.judge.ask(images, what="judging samples", progress=bench.progress)
        histogram = _shares(verdicts, bench.judge.facts.classes)
        figures += [*_judged(bench, prior, verdicts, asked), *_distances(bench, prior, verdicts, real)]
        series = {"label_shares": tuple(histogram.tolist())}
        pictures += [_worst(images, verdicts), _histogram(bench, histogram)]
    return SectionResult(
        key=f"samples_{prior.name.replace('-', '_')}",
        title=f"Samples from {prior.title}",
        about=f"New images, drawn from {prior.about}.",
        figures=tuple(figures),
        pictures=tuple(pictures),
        series=series,
    )


def _first(prior: SamplePrior, images: Float[Tensor, "n c h w"]) -> Picture:
    return Picture(
        name=f"samples_{prior.name}",
        caption=f"The first {min(_SHOWN, len(images))} samples from {prior.about}.",
        png=grids.sample_png(images, columns=_COLUMNS, scale=2),
    )


def _rows_of_each(bench: EvaluationContext, asked: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """The first samples of each label, as many of each."""
    labels = bench.label_names(int(asked.max()) + 1)[:_LABELS_SHOWN]
    rows = [np.flatnonzero(asked == label)[:_OF_EACH_LABEL] for label in range(len(labels))]
    columns = min(map(len, rows))
    return np.concatenate([row[:columns] for row in rows])


def _first_of_each(
    bench: EvaluationContext,
    prior: SamplePrior,
    images: Float[Tensor, "m c h w"],
    asked: Int64[np.ndarray, " n"],
) -> Picture:
    """A row for each label, with its name, so that an eye can compare the images with the label."""
    names = bench.label_names(int(asked.max()) + 1)
    shown = names[:_LABELS_SHOWN]
    columns = len(images) // len(shown)
    which = "" if len(shown) == len(names) else f", the first {len(shown)} of {len(names)}"
    return Picture(
        name=f"samples_{prior.name}",
        caption=f"The first {columns} samples of each label{which}, from {prior.about}.",
        png=charts.labelled_rows(images, columns=columns, row_names=shown),
    )


def _density(bench: EvaluationContext, prior: SamplePrior) -> Iterator[Figure]:
    """How well the prior describes the codes of the test images, which needs no judge."""
    labels = bench.labels() if prior.labelled else None
    trained = bench.data.train.labels
    if prior.labelled and (labels is None or trained is None or labels.max() > int(trained.max())):
        return  # a label that only test images have: it has no prior
    density = prior.log_density(bench.posteriors.z.numpy(), labels)
    if density is None:
        return
    of = "log p(z ∣ label), each image by the prior of its own label" if prior.labelled else "log p(z)"
    z = "one z drawn for each" if bench.model.kind == "vae" else "the code of each"
    yield Figure(
        name="prior_log_density",
        value=float(density.mean()),
        unit="nats per image",
        protocol=(
            f"mean of {of}; {prior.about}; {bench.observations.protocol()}; {z}; higher is better "
            "among the priors of one model, and not comparable between models"
        ),
    )


def _asked_labels(bench: EvaluationContext, prior: SamplePrior, count: int) -> Int64[np.ndarray, " n"] | None:
    """Each label equally often, for a prior with densities for labels."""
    train_labels = bench.data.train.labels
    if not prior.labelled or train_labels is None:
        return None
    return np.arange(count) % (int(train_labels.max()) + 1)


def _judged(
    bench: EvaluationContext, prior: SamplePrior, verdicts: Verdicts, asked: Int64[np.ndarray, " n"] | None
) -> list[Figure]:
    assert bench.judge is not None
    count = len(verdicts.labels)
    drawn = f"{count:,} samples from {prior.about}; seed {bench.seed}"
    figures = [
        Figure(
            name="readable_share",
            value=verdicts.readable,
            unit="share",
            protocol=f"{drawn}; the judge's top probability is at least ½; of the test images themselves "
            f"{100.0 * bench.verdicts.readable:.2f} %",
            better="higher",
        ),
        Figure(
            name="sure_share",
            value=verdicts.sure,
            unit="share",
            protocol=f"{drawn}; the judge's top probability is at least 0.9; of the test images themselves "
            f"{100.0 * bench.verdicts.sure:.2f} %",
            better="higher",
        ),
    ]
    if asked is not None:
        figures.append(
            Figure(
                name="asked_label_share",
                value=float((verdicts.labels.numpy() == asked).mean()),
                unit="share",
                protocol=f"{drawn}; the judge finds the label of the prior",
                better="higher",
            )
        )
    return figures


def _distances(bench: EvaluationContext, prior: SamplePrior, verdicts: Verdicts, real: _Real) -> list[Figure]:
    test = bench.data.test
    fake = verdicts.features.double().numpy()
    density, coverage = density_and_coverage(real.features, fake, neighbours=real.neighbours)
    held = (
        f"{len(fake):,} samples from {prior.about}; seed {bench.seed}; against all {len(test):,} images of "
        f"{test.name}; features of the judge"
    )
    balls = f"{held}; k = {real.neighbours} (arXiv:2002.09797, section 3)"
    return [
        Figure(
            name="frechet_distance",
            value=frechet_distance(fake, real.features),
            unit="squared features",
            protocol=f"{held} (arXiv:1706.08500, equation 6)",
            better="lower",
        ),
        Figure(
            name="frechet_floor",
            value=real.distance,
            unit="squared features",
            protocol=f"{real.floor}, against all {len(test):,} images of {test.name}; features of the judge",
        ),
        Figure(
            name="density",
            value=density,
            unit="ratio",
            protocol=f"{balls}; real images give {real.density:.2f} ({real.floor})",
        ),
        Figure(
            name="coverage",
            value=coverage,
            unit="share",
            protocol=f"{balls}; real images give {100.0 * real.coverage:.2f} % ({real.floor})",
            better="higher",
        ),
    ]


def _shares(verdicts: Verdicts, classes: int) -> Float64[np.ndarray, " label"]:
    counts = np.bincount(verdicts.labels.numpy(), minlength=classes)
    return np.asarray(counts / counts.sum())


def _worst(images: Float[Tensor, "n c h w"], verdicts: Verdicts) -> Picture:
    order = torch.argsort(verdicts.confidence)[:_WORST]
    limit = verdicts.confidence[order[-1]].item()
    return Picture(
        name="least_readable",
        caption=(
            f"The {len(order)} of {len(images):,} samples with the lowest certainty of the judge (top "
            f"probability up to {limit:.2f}), lowest first."
        ),
        png=grids.sample_png(images[order], columns=_COLUMNS, scale=2),
    )


def _histogram(bench: EvaluationContext, samples: Float64[np.ndarray, " label"]) -> Picture:
    assert bench.judge is not None
    return Picture(
        name="label_histogram",
        caption="The judge's labels for samples, and for test images.",
        png=charts.paired_bars(
            100.0 * samples,
            100.0 * _shares(bench.verdicts, bench.judge.facts.classes),
            legend=("samples", "test images"),
            names=bench.label_names(bench.judge.facts.classes),
            xlabel="label",
            ylabel="share of images, %",
        ),
    )
