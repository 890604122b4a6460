"""Assemble a data set from the arrays of a reader: number labels, compare parts, hold out a test.

Knows images and labels. Knows nothing of files and their formats, nor of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_store.echo import listed
from training.config.sections import MAX_SIDE
from training.data.images import ImageData, ImageSet
from training.data.label_names import publishable_names
from training.data.memory_map import ImageShape, ImagesOnDisk
from training.data.splits import hold_out_test, shared_images
from training.errors import DataError

MIN_SIDE = 8
MAX_LABEL = 9_999
#: Grey levels of 1 to 6 bits, stored unscaled, stay below this; ordinary images reach it in some pixel.
_DIM_BELOW = 64


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels: numbers from 0, words, or None."""

    images: Tensor | ImagesOnDisk
    """uint8 (N, C, H, W)."""
    labels: npt.NDArray[Any] | None
    """Integers or strings, (N,)."""


def shape_objection(image_shape: ImageShape) -> str | None:
    """The reason why training rejects images of this (C, H, W), or None."""
    channels, height, width = image_shape
    if channels in (1, 3) and min(height, width) >= MIN_SIDE and max(height, width) <= MAX_SIDE:
        return None
    return (
        f"expected 1 or 3 channels and sides of {MIN_SIDE} to {MAX_SIDE} pixels, got {channels} and "
        f"{height} × {width}"
    )


def data_of_parts(
    name: str, where: str, train: Part, test: Part | None, *, validation: Part | None = None
) -> ImageData:
    """Build a data set from a training set, a test set and an optional validation set.

    Args:
        name: Name of the data, for people.
        where: Origin of the data, for messages.
        train: The training part.
        test: The test part. With None, a tenth of the training part becomes the test, chosen by content.
        validation: The validation part. With None, each run holds out some of the training part.

    Raises:
        DataError: The numbers of labels and images differ, the parts do not match, or the images contain
            nothing to learn.
    """
    # The name of a file or folder, which appears in tables and logs.
    name = "".join(c for c in name if c.isprintable() and c not in "|`")[:100]
    others = {"validation": validation, "test": test}
    for what, part in {"training": train, **others}.items():
        if part is not None and part.labels is not None and len(part.labels) != len(part.images):
            raise DataError(
                f"{where}: expected one label for each of the {len(part.images):,} {what} images, got "
                f"{len(part.labels):,}. Give the labels of these images."
            )
    numbers, words = _numbered(where, train, others)
    label_names, told_of_names = publishable_names(words)
    whole = ImageSet(name if test is None else f"{name} train", train.images, numbers["training"])
    notes = [*told_of_names, *_check_that_there_is_something_to_learn(where, whole)]
    sets = {
        what: ImageSet(f"{name} {what}", part.images, numbers[what])
        for what, part in others.items()
        if part is not None
    }
    for what, image_set in sets.items():
        if whole.image_shape != image_set.image_shape:
            raise DataError(
                f"{where}: expected training and {what} images of one shape, got {whole.image_shape} and "
                f"{image_set.image_shape}. Give the parts of one data set."
            )
        _levels(where, image_set)
        notes += _overlap(where, whole, image_set, what)
    if len(sets) == 2 and (shared := shared_images(sets["validation"], sets["test"])):
        notes.append(f"{shared:,} of the {len(sets['test']):,} test images are validation images too")
    if "validation" in sets:
        notes.append("the data has validation images: data.validation_size has no effect")
    if "test" in sets:
        return ImageData(name, whole, sets["test"], label_names, tuple(notes), sets.get("validation"))
    kept, held_out = hold_out_test(whole, name=name)
    notes.append(
        f"the data has no test images: {len(held_out):,} of the {len(whole):,} images, chosen by their "
        "content, are held out for the test"
    )
    return ImageData(name, kept, held_out, label_names, tuple(notes), sets.get("validation"))


def _numbered(
    where: str, train: Part, others: Mapping[str, Part | None]
) -> tuple[dict[str, Tensor | None], tuple[str, ...]]:
    """Labels of each part as numbers from 0, and the names of the numbers if the labels were words."""
    labels = {"training": train.labels}
    labels |= {what: None if part is None else part.labels for what, part in others.items()}
    given = {what: of_part for what, of_part in labels.items() if of_part is not None}
    words = {of_part.dtype.kind == "U" for of_part in given.values()}
    if len(words) == 2:
        raise DataError(f"{where}: expected words or numbers as labels of all parts, got some of each.")
    if words != {True}:
        return {what: _as_tensor(of_part) for what, of_part in labels.items()}, ()
    known = np.unique(given.get("training", np.concatenate(list(given.values()))))
    for what, of_part in given.items():
        if unknown := sorted(set(np.unique(of_part)) - set(known)):
            raise DataError(
                f"{where}: expected no class in the {what} part that the training part lacks, got "
                f"{listed(map(str, unknown), most=10)}. Add training images of it, or leave it out."
            )
    numbers = {
        what: None if of_part is None else np.searchsorted(known, of_part) for what, of_part in labels.items()
    }
    return {what: _as_tensor(of_part) for what, of_part in numbers.items()}, tuple(map(str, known))


def _as_tensor(labels: npt.NDArray[Any] | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels.astype(np.int64))


def _check_that_there_is_something_to_learn(where: str, image_set: ImageSet) -> list[str]:
    """Warnings about the range of the pixels."""
    darkest, brightest = _levels(where, image_set)
    if darkest == brightest:
        raise DataError(
            f"{where}: expected images that differ, got the value {darkest} in every pixel. Use real images."
        )
    if brightest >= _DIM_BELOW:
        return []
    return [
        f"levels out of range: no pixel is brighter than {brightest} of 255. If {brightest} is the maximum "
        f"of your data, multiply the pixels by {255 // brightest}, so that the model sees the whole range"
    ]


def _levels(where: str, image_set: ImageSet) -> tuple[int, int]:
    """The darkest and the brightest pixel."""
    darkest, brightest = 255, 0
    for chunk in image_set.chunks():
        darkest, brightest = min(darkest, int(chunk.min())), max(brightest, int(chunk.max()))
    if brightest <= 1:
        raise DataError(
            f"{where}: expected grey levels 0 to 255, got none above {brightest} in {image_set.name}. "
            "Multiply pixels that are 0 or 1 by 255. All-black images contain nothing to learn."
        )
    return darkest, brightest


def _overlap(where: str, train: ImageSet, other: ImageSet, what: str) -> tuple[str, ...]:
    """Warnings about images of another part that are training images too."""
    shared = shared_images(train, other)
    if shared == len(other):
        raise DataError(
            f"{where}: all {shared:,} {what} images are training images too. Use other {what} images: "
            "figures on training images prove nothing."
        )
    if shared == 0:
        return ()
    return (
        f"{shared:,} of the {len(other):,} {what} images are training images too, so that the figures "
        "flatter the model",
    )
