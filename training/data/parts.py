"""From the arrays of a reader to a training and a test set: labels numbered, parts compared, a test held out.

Knows images and labels. Knows nothing of files and their formats, nor of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.images import ImageData, ImageSet
from training.data.on_disk import ImageShape, ImagesOnDisk
from training.data.splits import hold_out_test, shared_images
from training.errors import DataError

MIN_SIDE = 8
MAX_SIDE = 64
MAX_LABEL = 9_999


@dataclass(frozen=True, eq=False)
class Part:
    """Images, and what each is labelled with: numbers from 0, words, or nothing."""

    images: Tensor | ImagesOnDisk
    """uint8 (N, C, H, W)."""
    labels: npt.NDArray[Any] | None
    """Integers or strings, (N,)."""


def shape_objection(image_shape: ImageShape) -> str | None:
    """Why images of this (C, H, W) cannot be trained on, or None."""
    channels, height, width = image_shape
    if channels in (1, 3) and min(height, width) >= MIN_SIDE and max(height, width) <= MAX_SIDE:
        return None
    return (
        f"expected 1 or 3 channels and sides of {MIN_SIDE} to {MAX_SIDE} pixels, got {channels} and "
        f"{height} × {width}"
    )


def data_of_parts(name: str, where: str, train: Part, test: Part | None) -> ImageData:
    """A training and a test set that belong together.

    Args:
        name: Of the data, for people.
        where: Where it came from, for messages.
        train: What is trained on.
        test: What is measured on; None holds a tenth of the training part out, by content.

    Raises:
        DataError: Numbers of labels and images differ, the parts do not fit, or there is nothing to learn.
    """
    # It comes from the name of a file or folder, and goes into tables and logs.
    name = "".join(c for c in name if c.isprintable() and c not in "|`")[:100]
    for part, what in ((train, "training"), (test, "test")):
        if part is not None and part.labels is not None and len(part.labels) != len(part.images):
            raise DataError(
                f"{where}: expected one label for each of the {len(part.images):,} {what} images, got "
                f"{len(part.labels):,}. Give the labels of these images."
            )
    labels, test_labels, label_names = _numbered(where, train, test)
    if test is None:
        whole = ImageSet(name, train.images, labels)
        _check_that_there_is_something_to_learn(where, whole)
        kept, held_out = hold_out_test(whole, name=name)
        note = (
            f"no test images were given: {len(held_out):,} of the {len(whole):,} images, chosen by their "
            "content, are held out for the test"
        )
        return ImageData(name, kept, held_out, label_names, (note,))
    training_set = ImageSet(f"{name} train", train.images, labels)
    test_set = ImageSet(f"{name} test", test.images, test_labels)
    _check_that_there_is_something_to_learn(where, training_set)
    if training_set.image_shape != test_set.image_shape:
        raise DataError(
            f"{where}: expected training and test images of one shape, got {training_set.image_shape} and "
            f"{test_set.image_shape}. Give the two parts of one data set."
        )
    return ImageData(name, training_set, test_set, label_names, _overlap(where, training_set, test_set))


def _numbered(
    where: str, train: Part, test: Part | None
) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
    """Labels as numbers from 0, and what each number is called when they were words."""
    test_labels = None if test is None else test.labels
    given = [labels for labels in (train.labels, test_labels) if labels is not None]
    words = {labels.dtype.kind == "U" for labels in given}
    if len(words) == 2:
        raise DataError(f"{where}: expected words or numbers as labels of both parts, got one of each.")
    if words != {True}:
        return _as_tensor(train.labels), _as_tensor(test_labels), ()
    known = np.unique(given[0])
    if unknown := sorted(set(np.unique(given[-1])) - set(known)):
        raise DataError(
            f"{where}: expected no class in the test part that the training part lacks, got "
            f"{', '.join(map(str, unknown[:10]))}. Give training images of it, or leave it out."
        )
    numbers = [
        None if labels is None else np.searchsorted(known, labels) for labels in (train.labels, test_labels)
    ]
    return _as_tensor(numbers[0]), _as_tensor(numbers[1]), tuple(map(str, known))


def _as_tensor(labels: npt.NDArray[Any] | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels.astype(np.int64))


def _check_that_there_is_something_to_learn(where: str, image_set: ImageSet) -> None:
    darkest, brightest = 255, 0
    for chunk in image_set.chunks():
        darkest, brightest = min(darkest, int(chunk.min())), max(brightest, int(chunk.max()))
    if brightest <= 1:
        raise DataError(
            f"{where}: expected grey levels 0 to 255, got none above {brightest}. Multiply pixels that are 0 "
            "or 1 by 255; all-black images hold nothing to learn."
        )
    if darkest == brightest:
        raise DataError(f"{where}: expected images that differ, got every pixel {darkest}. Give real ones.")


def _overlap(where: str, train: ImageSet, test: ImageSet) -> tuple[str, ...]:
    """What to tell of test images that are trained on."""
    shared = shared_images(train, test)
    if shared == len(test):
        raise DataError(
            f"{where}: all {shared:,} test images are training images too. Give the real test images: "
            "figures measured on training images say nothing."
        )
    if shared == 0:
        return ()
    return (
        f"{shared:,} of the {len(test):,} test images are training images too, so that the figures flatter "
        "the model",
    )
