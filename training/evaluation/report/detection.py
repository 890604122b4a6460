"""The section on unfamiliar images: do bound and error separate training data from other data?

Knows bounds and reconstruction errors as scores. Its purpose: neither should be used as a detector of
anomalies without this measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from training.data import ImageSet, MemoryBudget
from training.errors import DataError
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.figures import natural_binarisation
from training.evaluation.measures.distributions import auroc
from training.evaluation.report.section_results import Figure, SectionResult
from training.evaluation.subject import Subject
from training.models import LatentImageModel
from training.objectives.estimators import Observations, autoencoder_reconstruction_nll, elbo_parts

#: Kinds of score, as the end of a figure's name.
_BOUND, _ERROR = "", "_reconstruction"


@dataclass(frozen=True, eq=False)
class _Scored:
    """Images, with one number for each by kind of score, higher for a likelier image."""

    images: ImageSet
    scores: dict[str, Float64[Tensor, " n"]]
    """By `_BOUND` or `_ERROR`."""


def find_detection(
    bench: EvaluationContext, *, second: ImageSet | None, second_subject: Subject | None
) -> SectionResult:
    """Score the test images against their mirror images, and against a second data set in both directions.

    Args:
        bench: The model and its test images.
        second: Test images of another data set, of the same shape.
        second_subject: A model of that other data, for the other direction; None measures one direction.
    """
    test, model = bench.data.test, bench.model
    own = _scored(bench, model, test)
    flipped = (np.ascontiguousarray(chunk[..., ::-1]) for chunk in test.chunks())
    mirrored = ImageSet(
        name=f"{test.name}, mirrored left to right",
        images=MemoryBudget().gather(flipped, count=len(test), image_shape=test.image_shape),
    )
    pairs = {"auroc_mirrored": mirrored}
    if second is not None:
        pairs["auroc_second"] = second
    figures: list[Figure] = []
    for name, strange in pairs.items():
        outside = _scored(bench, model, strange)
        figures += _figures(name, bench.subject, seed=bench.seed, inside=own, outside=outside)
    if second is not None and second_subject is not None:
        other = second_subject.model
        inside, outside = (_scored(bench, other, images) for images in (second, test))
        figures += _figures("auroc_back", second_subject, seed=bench.seed, inside=inside, outside=outside)
    return SectionResult(
        key="detection",
        title="Strange images",
        about=(
            "How well the bound on the likelihood, and the reconstruction error alone, separate images "
            "like the training data from others: 100 % is always, 50 % is a coin, below it the others "
            "look likelier. Simple unfamiliar images often look likelier, and one direction may be easy "
            "and the other hard. Do not use either score to detect anomalies without a measurement on "
            "images of your own."
        ),
        figures=tuple(figures),
    )


def _scored(bench: EvaluationContext, model: LatentImageModel, images: ImageSet) -> _Scored:
    """By the bound and by its reconstruction term; an autoencoder has only the latter."""
    observations = Observations(images, natural_binarisation(model), seed=bench.seed)
    with torch.inference_mode():
        if model.kind == "vae":
            parts = elbo_parts(model, observations, batch_size=bench.at_once, progress=bench.progress)
            return _Scored(images, {_BOUND: -parts.negative_elbo, _ERROR: -parts.reconstruction_nll})
        cost = autoencoder_reconstruction_nll(
            model, observations, batch_size=bench.at_once, progress=bench.progress
        )
        return _Scored(images, {_ERROR: -cost})


def _figures(
    name: str,
    subject: Subject,
    *,
    seed: int,
    inside: _Scored,
    outside: _Scored,
) -> Iterator[Figure]:
    dynamic = natural_binarisation(subject.model) == "dynamic"
    pixels = "dynamic binarisation" if dynamic else "grey pixels"
    at = "at one z an image, which is the ELBO without its KL" if subject.model.kind == "vae" else "at z = mu"
    for kind, scores in inside.scores.items():
        score = f"log p(x∣z) {at}" if kind == _ERROR else "ELBO, one z an image"
        yield Figure(
            name=f"{name}{kind}",
            value=auroc(scores.numpy(), outside.scores[kind].numpy()),
            unit="share",
            protocol=f"chance that {subject.label} scores one of {len(inside.images):,} images of "
            f"{inside.images.name} above one of {len(outside.images):,} of {outside.images.name}; score: "
            f"{score}; {pixels}, seed {seed}",
            better="higher",
        )


def check_second(bench: EvaluationContext, second: ImageSet | None, second_subject: Subject | None) -> None:
    """Reject unsuitable images before the other sections take minutes.

    Raises:
        DataError: The second images or the second model are of another shape.
    """
    shapes = {} if second is None else {second.name: second.image_shape}
    if second_subject is not None:
        shapes[second_subject.label] = second_subject.model.image_shape
    for what, shape in shapes.items():
        if shape != bench.model.image_shape:
            raise DataError(
                f"{what}: expected images of shape {bench.model.image_shape}, as {bench.subject.label} "
                f"requires, got {shape}. Use second images, and a model of them, of that shape."
            )
