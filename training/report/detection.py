"""The section on strange images: does the bound tell what the model was trained on from what it was not?

Knows bounds as scores. It is here so that nobody sells the ELBO as a detector of anomalies unmeasured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from training.data import ImageSet
from training.errors import DataError
from training.estimators import Observations, autoencoder_reconstruction_nll, elbo_parts
from training.evaluation import natural_binarisation
from training.measures.distributions import auroc
from training.models import LatentImageModel
from training.report.findings import Figure, Findings
from training.report.workbench import BATCH, Workbench
from training.subjects import Subject


@dataclass(frozen=True, eq=False)
class _Scored:
    """Images, and one score for each, higher for a likelier one."""

    images: ImageSet
    scores: Float64[Tensor, " n"]


def find_detection(bench: Workbench, *, second: ImageSet | None, second_subject: Subject | None) -> Findings:
    """Score the test images beside their mirror images, and beside a second data set in both directions.

    Args:
        bench: The model and its test images.
        second: Test images of another data set, of the same shape.
        second_subject: A model of that other data, for the direction back; None measures one direction.
    """
    test, model = bench.data.test, bench.model
    own = _scored(bench, model, test)
    mirrored = ImageSet(name=f"{test.name}, mirrored left to right", images=test.whole().flip(-1))
    pairs = {"auroc_mirrored": mirrored}
    if second is not None:
        pairs["auroc_second"] = second
    figures = [
        _figure(
            name,
            bench.subject,
            seed=bench.seed,
            inside=own,
            outside=_scored(bench, model, strange),
        )
        for name, strange in pairs.items()
    ]
    if second is not None and second_subject is not None:
        other = second_subject.model
        inside, outside = (_scored(bench, other, images) for images in (second, test))
        figures.append(_figure("auroc_back", second_subject, seed=bench.seed, inside=inside, outside=outside))
    return Findings(
        key="detection",
        title="Strange images",
        about="How well the bound on the likelihood tells images like the training data from others: 100 % "
        "is always, 50 % is a coin, below it the others look likelier. Simple strange images often do: do "
        "not use it to detect anomalies without measuring that on your own.",
        figures=tuple(figures),
    )


def _scored(bench: Workbench, model: LatentImageModel, images: ImageSet) -> _Scored:
    """By the bound, or by what an autoencoder has in its place."""
    observations = Observations(images, natural_binarisation(model), seed=bench.seed)
    with torch.inference_mode():
        if model.kind == "vae":
            parts = elbo_parts(model, observations, batch_size=BATCH, progress=bench.progress)
            return _Scored(images, -parts.negative_elbo)
        cost = autoencoder_reconstruction_nll(model, observations, batch_size=BATCH, progress=bench.progress)
        return _Scored(images, -cost)


def _figure(
    name: str,
    subject: Subject,
    *,
    seed: int,
    inside: _Scored,
    outside: _Scored,
) -> Figure:
    dynamic = natural_binarisation(subject.model) == "dynamic"
    pixels = "dynamic binarisation" if dynamic else "grey pixels"
    score = "ELBO, one z an image" if subject.model.kind == "vae" else "log p(x|z) at z = mu"
    return Figure(
        name=name,
        value=auroc(inside.scores.numpy(), outside.scores.numpy()),
        unit="share",
        protocol=f"chance that {subject.label} scores one of {len(inside.images):,} images of "
        f"{inside.images.name} above one of {len(outside.images):,} of {outside.images.name}; score: "
        f"{score}; {pixels}, seed {seed}",
        better="higher",
    )


def check_second(bench: Workbench, second: ImageSet | None, second_subject: Subject | None) -> None:
    """Refuse what could not be scored, before minutes go into the other sections.

    Raises:
        DataError: The second images or the second model are of another shape.
    """
    shapes = {} if second is None else {second.name: second.image_shape}
    if second_subject is not None:
        shapes[second_subject.label] = second_subject.model.image_shape
    for what, shape in shapes.items():
        if shape != bench.model.image_shape:
            raise DataError(
                f"{what}: expected images shaped {bench.model.image_shape}, as {bench.subject.label} takes, "
                f"got {shape}. Give second images, and a model of them, of that shape."
            )
