"""The section on samples, one for each prior: can they be read, are they like real ones, are all kinds met?

Knows priors, decoded images and the judge. Without a judge there are pictures and no figures: an eye is
needed to say whether an image is one.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from training import plots
from training.data import to_unit_interval
from training.judge import Verdicts
from training.measures.distributions import density_and_coverage, frechet_distance
from training.report import drawing
from training.report.findings import Better, Figure, Findings, Picture
from training.report.priors import SamplePrior, priors_of
from training.report.workbench import Workbench

_SHOWN = 96
_WORST = 48
_COLUMNS = 16
_NEIGHBOURS = 5
#: Numbers of the noise streams; all priors draw from the same noise, so that they differ by themselves alone.
_DRAW, _CHOOSE_FLOOR = 30, 31


def find_samples(bench: Workbench) -> list[Findings]:
    """Draw from every prior; as many images as there are test images to hold beside them."""
    return [_findings(bench, prior) for prior in priors_of(bench)]


def _findings(bench: Workbench, prior: SamplePrior) -> Findings:
    count = len(bench.x)
    asked = _asked_labels(bench, prior, count)
    images = bench.decode(prior.draw(bench.normal(count, _DRAW), asked), f"samples ({prior.name})")
    pictures = [
        Picture(
            name=f"samples_{prior.name}",
            caption=f"The first {min(_SHOWN, count)} samples from {prior.about}.",
            png=plots.sample_png(images[:_SHOWN], columns=_COLUMNS, scale=1 if images.shape[-1] > 40 else 2),
        )
    ]
    figures: list[Figure] = []
    series: dict[str, tuple[float, ...]] = {}
    if bench.judge is not None:
        verdicts = bench.judge.ask(images, what="judging samples", progress=bench.progress)
        histogram = _shares(verdicts, bench.judge.facts.classes)
        figures = _judged(bench, prior, verdicts, asked)
        series = {"label_shares": tuple(histogram.tolist())}
        pictures += [_worst(images, verdicts), _histogram(bench, histogram)]
    return Findings(
        key=f"samples_{prior.name.replace('-', '_')}",
        title=f"Samples from {prior.name}",
        about=f"New images, drawn from {prior.about}.",
        figures=tuple(figures),
        pictures=tuple(pictures),
        series=series,
    )


def _asked_labels(bench: Workbench, prior: SamplePrior, count: int) -> Int64[np.ndarray, " n"] | None:
    """Each label equally often, for a prior that can be asked for one."""
    train_labels = bench.data.train.labels
    if not prior.labelled or train_labels is None:
        return None
    return np.arange(count) % (int(train_labels.max()) + 1)


def _judged(
    bench: Workbench, prior: SamplePrior, verdicts: Verdicts, asked: Int64[np.ndarray, " n"] | None
) -> list[Figure]:
    assert bench.judge is not None
    count, test = len(verdicts.labels), bench.data.test
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
                protocol=f"{drawn}, each label equally often; the judge sees the label that was asked for",
                better="higher",
            )
        )
    real = bench.verdicts.features.double().numpy()
    fake = verdicts.features.double().numpy()
    others, floor_count = _other_real(bench)
    floor = f"{floor_count:,} random images of {bench.data.train.name} in place of samples"
    held = f"{drawn}, beside all {len(test):,} images of {test.name}; features of the judge"
    distance, least = frechet_distance(fake, real), frechet_distance(others, real)
    figures.append(_figure("frechet_distance", distance, "squared features", held, "lower"))
    figures.append(_figure("frechet_floor", least, "squared features", f"{held}; {floor}", "neither"))
    neighbours = min(_NEIGHBOURS, len(real) - 1)
    density, coverage = density_and_coverage(real, fake, neighbours=neighbours)
    best_density, best_coverage = density_and_coverage(real, others, neighbours=neighbours)
    balls = f"{held}; k = {neighbours} (arXiv:2002.09797)"
    figures += [
        _figure(
            "density", density, "balls", f"{balls}; real images give {best_density:.2f} ({floor})", "neither"
        ),
        _figure(
            "coverage",
            coverage,
            "share",
            f"{balls}; real images give {100 * best_coverage:.2f} % ({floor})",
            "higher",
        ),
    ]
    return figures


def _figure(name: str, value: float, unit: str, protocol: str, better: Better) -> Figure:
    return Figure(name=name, value=value, unit=unit, protocol=protocol, better=better)


def _other_real(bench: Workbench) -> tuple[Float64[np.ndarray, "m feature"], int]:
    """Features of training images, as many as test images: what a perfect sampler would be measured at."""
    assert bench.judge is not None
    chosen = bench.choice(len(bench.x), len(bench.data.train), _CHOOSE_FLOOR)
    images = to_unit_interval(bench.data.train.images[chosen])
    verdicts = bench.judge.ask(images, what="judging training images", progress=bench.progress)
    return verdicts.features.double().numpy(), len(chosen)


def _shares(verdicts: Verdicts, classes: int) -> Float64[np.ndarray, " label"]:
    counts = np.bincount(verdicts.labels.numpy(), minlength=classes)
    return np.asarray(counts / counts.sum())


def _worst(images: Float[Tensor, "n c h w"], verdicts: Verdicts) -> Picture:
    order = torch.argsort(verdicts.confidence)[:_WORST]
    limit = verdicts.confidence[order[-1]].item()
    return Picture(
        name="least_readable",
        caption=f"The {len(order)} of {len(images):,} samples that the judge is least sure of (top "
        f"probability up to {limit:.2f}): what the holes of the latent space decode to.",
        png=plots.sample_png(images[order], columns=_COLUMNS, scale=1 if images.shape[-1] > 40 else 2),
    )


def _histogram(bench: Workbench, samples: Float64[np.ndarray, " label"]) -> Picture:
    assert bench.judge is not None
    return Picture(
        name="label_histogram",
        caption="What the judge sees in samples, and in test images.",
        png=drawing.paired_bars(
            100.0 * samples,
            100.0 * _shares(bench.verdicts, bench.judge.facts.classes),
            legend=("samples", "test images"),
            xlabel="label",
            ylabel="%",
        ),
    )
