"""`vae-store calibrate`: thresholds of scores, from one's own normal images, as the next version of a model.

Knows the engine's score, the store, and how images come from files. Knows nothing of HTTP. The images are
read and scored as `POST /score?resize=true` does, so the thresholds apply to its answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store import Manifest, ModelStore, PublishedModel, StoreError, VersionId
from model_store.calibration import FIGURES, IMAGES_PER_ALARM, Calibration, Figure, images_needed
from model_store.cli_output import Answer
from model_store.text_layout import facts
from model_store.thresholds import calibrated
from service.commands.image_files import ImageFiles
from service.engine import Binarise, EngineError, LoadedModel, WorkerPool, allowed_threads, load_model, score

#: Values of the images that are scored at a time, and most images.
_BATCH_VALUES: Final = 1_048_576
_BATCH_IMAGES: Final = 64
_HEADING: Final = "## Thresholds"
#: Below it a figure separates little.
_USEFUL_AUROC: Final = 0.8

Figures = dict[Figure, NDArray[np.float64]]
Tell = Callable[[str], None]


class CalibrationFailed(StoreError):
    """The images or the version have no thresholds."""


@dataclass(frozen=True)
class _Options:
    """The choices of a user."""

    rate: float
    seed: int
    flagged_by: Figure


def calibrate(
    store: ModelStore,
    reference: str,
    *,
    data: Path,
    against: Path | None,
    rate: float,
    flagged_by: Figure = "negative_elbo",
    seed: int = 0,
    aliases: Sequence[str] = (),
    tell: Tell = lambda _: None,
) -> tuple[VersionId, Calibration]:
    """Publish the next version of a model: the same graphs, with thresholds of scores.

    Args:
        store: Contains the version, and receives the next one.
        reference: `name`, `name@version` or `name@alias`.
        data: Normal images that the model was not trained on; see `image_files`.
        against: Other images, for the AUROC of each figure.
        rate: The share of further normal images to flag, in (0, 0.5].
        flagged_by: The figure that flags.
        seed: Seed of the draws; batch i of images uses seed + i.
        aliases: Aliases to move to the new version; `latest` moves by itself.
        tell: Called with a line for people at each step.

    Raises:
        CalibrationFailed: The images are too few or unusable, or the model assigns no probability.
        StoreError: No such version, or the store is not writable.
    """
    published = store.open(reference)
    options = _Options(rate, seed, flagged_by)
    manifest = published.manifest
    normal = ImageFiles.find(data, manifest.image)
    if len(normal) < images_needed(rate):
        raise CalibrationFailed(
            f"{data}: expected at least {images_needed(rate)} images for a rate of {rate:g}, got "
            f"{len(normal)}. With fewer, the rate of false alarms is a guess. Collect more, or choose a rate "
            f"of at least {min(0.5, IMAGES_PER_ALARM / len(normal)):.2g}."
        )
    other = None if against is None else ImageFiles.find(against, manifest.image)
    made = _calibration(published, normal, other, options, tell)
    now = datetime.now(UTC).replace(microsecond=0)
    provenance = manifest.provenance.model_copy(update={"created_at": now})
    draft = manifest.with_calibration(made).model_copy(update={"provenance": provenance})
    version = store.publish(
        draft,
        card=lambda new: card_with_thresholds(published.card, of=published.id, manifest=new),
        aliases=tuple(aliases),
        **published.parts,
    )
    return version, made


def _calibration(
    published: PublishedModel, normal: ImageFiles, other: ImageFiles | None, options: _Options, tell: Tell
) -> Calibration:
    worker_pool = WorkerPool(allowed_threads().threads)
    try:
        model = load_model(published, threads=1, worker_pool=worker_pool)
        scored, binarise = asyncio.run(_scored(model, normal, options, tell))
        others = None if other is None else asyncio.run(_scored(model, other, options, tell))[0]
    except EngineError as error:
        raise CalibrationFailed(str(error)) from error
    finally:
        worker_pool.close()
    return calibrated(
        scored,
        rate=options.rate,
        other=others,
        binarise=binarise,
        flagged_by=options.flagged_by,
        data=str(normal),
        against=None if other is None else str(other),
        protocol=f"read as by /score with resize=true, one z for each image, binarise={binarise}, "
        f"seed {options.seed} and upwards for each batch of {_batch_images(model)} images",
    )


def _batch_images(model: LoadedModel) -> int:
    return max(1, min(_BATCH_IMAGES, _BATCH_VALUES // model.manifest.values_per_row))


async def _scored(
    model: LoadedModel, files: ImageFiles, options: _Options, tell: Tell
) -> tuple[Figures, Binarise]:
    """The figures of all images, and the binarisation."""
    parts: dict[Figure, list[NDArray[np.float64]]] = {name: [] for name in FIGURES}
    done = 0
    binarise: Binarise = "none"
    for number, images in enumerate(files.batches(_batch_images(model))):
        scores = await score(model.queued, images, seed=options.seed + number)
        binarise = scores.binarise
        for name, values in scores.figures.items():
            parts[name].append(values)
        done += len(images)
        if number % 100 == 99:
            tell(f"scored {done} of {len(files)} images of {files.path}")
    return {name: np.concatenate(values) for name, values in parts.items()}, binarise


def card_with_thresholds(card: str, *, of: VersionId, manifest: Manifest) -> str:
    """The card of the next version, which differs only by its thresholds.

    Args:
        card: Card of the earlier version.
        of: Name and number of the earlier version.
        manifest: Manifest of the new version.
    """
    made = manifest.calibration
    assert made is not None, "the manifest of a calibrated version"
    body = card.removeprefix(f"# {of.name}, version {of.version}\n")
    before, _, after = body.partition(f"\n{_HEADING}\n")
    rest = f"\n{after[after.find(chr(10) + '## ') :].lstrip()}" if "\n## " in after else ""
    rows = [
        f"| {each.name} | {each.threshold:.6g} | {'' if each.auroc is None else f'{each.auroc:.3f}'} |"
        for each in made.figures
    ]
    against = "" if made.against is None else f" AUROC is against {made.against}."
    section = (
        f"{_HEADING}\n\n`/score?flag=true` flags an image whose `{made.flagged_by}` exceeds its threshold: "
        f"{made.rate:.3g} of normal images. Neither a flag nor its absence is a proof.{against}\n\n"
        "| figure | threshold, nats | AUROC |\n| --- | ---: | ---: |\n"
        + "\n".join(rows)
        + f"\n\nNormal images: {made.data}. Protocol: {made.protocol}.\n"
    )
    heading = f"# {manifest.name}, version {manifest.version}"
    return f"{heading}\n{before.rstrip()}\n\n{section}{rest}"


def answer(version: VersionId, made: Calibration) -> Answer:
    """The new version, its thresholds, and how well each figure separates other images."""
    figures = [
        {"name": figure.name, "threshold": figure.threshold, "auroc": figure.auroc} for figure in made.figures
    ]
    document = {
        "version": str(version),
        "rate": made.rate,
        "images": made.images,
        "flagged_by": made.flagged_by,
        "figures": figures,
    }
    rows = [
        ("version", str(version)),
        ("normal images", made.data),
        ("flagged", f"{made.rate:.3g} of normal images, by {made.flagged_by}"),
        *((f"threshold of {figure.name}", f"{figure.threshold:.6g} nats") for figure in made.figures),
    ]
    if made.against is not None:
        rows.append(("other images", made.against))
        rows += [(f"AUROC of {figure.name}", f"{figure.auroc:.3f}") for figure in made.figures]
    text = facts(rows)
    weakest = made.figure(made.flagged_by).auroc
    if weakest is not None and weakest < _USEFUL_AUROC:
        text += (
            f"\nwarning: {made.flagged_by} hardly separates these other images from normal ones. Images "
            "unlike any in training may score better than those of training. Compare the AUROC of the other "
            "figures, and choose one with --by."
        )
    return Answer(document, text)
