"""Held-out images: chosen by their content, independent of their order and number.

Knows image sets and digests. Knows nothing of models or files.

Pixels, purpose and a seed determine a number for every image, and the images with the lowest numbers are held
out. Equal images have equal numbers, so no copy of a training image is ever among the held-out ones.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from training.data.images import ImageData, ImageSet
from training.errors import DataError

#: Share of the images that becomes the test, if they have no test part.
TEST_SHARE = 0.1
#: The same test images for every seed of a run, so that runs are comparable.
_TEST_SEED = 0


def fitting_parts(data: ImageData, *, validation_size: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Images for training and for validation: the data's own validation part, or held-out training images.

    Args:
        data: If it has a validation part, its training part is used completely.
        validation_size: As for `split_train_validation`, and not 0; unused with a validation part.
        seed: As for `split_train_validation`.

    Raises:
        DataError: As for `split_train_validation`.
    """
    if data.validation is not None:
        return data.train, data.validation
    train, validation = split_train_validation(data.train, validation_size=validation_size, seed=seed)
    assert validation is not None, "the configuration holds out at least one image"
    return train, validation


def count_fitting_parts(data: ImageData, *, validation_size: float, seed: int) -> tuple[int, int]:
    """Number of images in each part of `fitting_parts`.

    Raises:
        DataError: As for `split_train_validation`.
    """
    if data.validation is not None:
        return len(data.train), len(data.validation)
    held_back = count_held_back(data.train, validation_size=validation_size, seed=seed)
    return len(data.train) - held_back, held_back


def describe_split(data: ImageData) -> str:
    """The choice of the validation images: by `content`, or `given` with their fingerprint."""
    return "content" if data.validation is None else f"given {data.validation.fingerprint}"


def split_train_validation(
    image_set: ImageSet, *, validation_size: float, seed: int
) -> tuple[ImageSet, ImageSet | None]:
    """Hold out images for validation, chosen by a digest of their pixels and the seed.

    Both parts keep the order of the whole. They are disjoint and together they are the whole. Another order
    moves no image between the parts. If the size is a share, additional images move none either, except in
    sets so small that the share was empty and one image was taken. If the size is a number, additional images
    may move held-out images to the training part, and never the other way.

    Args:
        image_set: The set to split.
        validation_size: Number of images to hold out, including copies of the last of them; below 1, their
            share. 0 holds out none.
        seed: Another seed holds out other images.

    Returns:
        (training part, validation part); the latter is None for size 0.

    Raises:
        DataError: The size is negative, or leaves nothing to train on or to validate on.
    """
    held_back = _held_back(image_set, validation_size, seed)
    if validation_size == 0:
        return image_set, None
    count = int(held_back.sum())
    return (
        image_set.take(torch.from_numpy(np.flatnonzero(~held_back))),
        image_set.take(
            torch.from_numpy(np.flatnonzero(held_back)),
            name=f"{image_set.name}, {count:,} held back (seed {seed})",
        ),
    )


def count_held_back(image_set: ImageSet, *, validation_size: float, seed: int) -> int:
    """Number of images that `split_train_validation` holds out.

    Raises:
        DataError: As for `split_train_validation`.
    """
    return int(_held_back(image_set, validation_size, seed).sum())


def hold_out_test(image_set: ImageSet, *, name: str) -> tuple[ImageSet, ImageSet]:
    """(training part, test part) of images without test images: a tenth, for any seed of the run.

    Additional images move none from one part to the other, except in sets so small that a tenth was empty and
    one image was taken.

    Args:
        image_set: All images.
        name: Name of the data, for the names of the parts.

    Raises:
        DataError: One of the parts would be empty.
    """
    held_out = _lowest_share(_numbers(image_set, "test", _TEST_SEED), TEST_SHARE)
    if not 0 < held_out.sum() < len(image_set):
        raise DataError(
            f"{name}: expected enough different images to hold a tenth out for the test, got "
            f"{len(np.unique(image_set.digests, axis=0)):,} different ones. Add more, or a separate test "
            "part: a folder named test, or the key test_images."
        )
    return (
        image_set.take(torch.from_numpy(np.flatnonzero(~held_out)), name=f"{name} train"),
        image_set.take(
            torch.from_numpy(np.flatnonzero(held_out)),
            name=f"{name} test (a tenth of {len(image_set):,}, held out by content hash)",
        ),
    )


def shared_images(first: ImageSet, second: ImageSet) -> int:
    """Number of images of the second set that equal one of the first, pixel for pixel."""
    known = {digest.tobytes() for digest in first.digests}
    return sum(digest.tobytes() in known for digest in second.digests)


def _held_back(image_set: ImageSet, size: float, seed: int) -> npt.NDArray[np.bool_]:
    if not 0 <= size < len(image_set):
        raise DataError(
            f"data.validation_size: expected 0 to {len(image_set) - 1:,} of the {len(image_set):,} images "
            f"of {image_set.name}, got {size:,}. Hold out fewer: --set "
            f"data.validation_size={len(image_set) // 10} leaves nine tenths to train on."
        )
    if size == 0:
        return np.zeros(len(image_set), bool)
    numbers = _numbers(image_set, "validation", seed)
    if size < 1:
        held_back = _lowest_share(numbers, size)
    else:
        held_back = numbers <= np.partition(numbers, int(size) - 1)[int(size) - 1]
    if not 0 < held_back.sum() < len(image_set):
        raise DataError(
            "data.validation_size: expected images on both sides of the split, got "
            f"{int(held_back.sum()):,} of the {len(image_set):,} images of {image_set.name} held out by "
            f"{size:,}. Add more different images, or use another size."
        )
    return held_back


def _numbers(image_set: ImageSet, purpose: str, seed: int) -> npt.NDArray[np.uint64]:
    """A pseudo-random number below 2^64 for each image, determined by its pixels."""
    key, person = seed.to_bytes(8, "little"), purpose.encode()
    digests = (
        hashlib.blake2b(digest, digest_size=8, key=key, person=person).digest()
        for digest in image_set.digests
    )
    return np.frombuffer(b"".join(digests), np.dtype("<u8"))


def _lowest_share(numbers: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Images whose number is below the share; if that is none or all of a small set, one more or fewer."""
    lowest: npt.NDArray[np.bool_] = numbers < np.uint64(share * 2.0**64)
    if not lowest.any():
        lowest = numbers == numbers.min()
    elif lowest.all():
        lowest = numbers != numbers.max()
    return lowest
