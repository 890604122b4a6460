"""Which images are held back: decided by what they show, whatever their order and number.

Knows image sets and digests. Knows nothing of models or files.

Every image gets a number that its pixels, the purpose and a seed decide, and the lowest are held back. Equal
images get equal numbers, so no copy of an image that is trained on is ever among those that measure.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from training.data.images import ImageData, ImageSet
from training.errors import DataError

#: Of the images that come without a test part of their own.
TEST_SHARE = 0.1
#: The same test images for every seed of a run, so that runs compare.
_TEST_SEED = 0


def fitting_parts(data: ImageData, *, validation_size: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Images to train on, and images to validate on: those that were given, or some held back.

    Args:
        data: With a validation part, its training part is used whole.
        validation_size: As `split_train_validation` takes it, and not 0; unused with a validation part.
        seed: As there.

    Raises:
        DataError: As there.
    """
    if data.validation is not None:
        return data.train, data.validation
    train, validation = split_train_validation(data.train, validation_size=validation_size, seed=seed)
    assert validation is not None, "the configuration holds at least one image back"
    return train, validation


def count_fitting_parts(data: ImageData, *, validation_size: float, seed: int) -> tuple[int, int]:
    """How many images each part of `fitting_parts` has.

    Raises:
        DataError: As there.
    """
    if data.validation is not None:
        return len(data.train), len(data.validation)
    held_back = count_held_back(data.train, validation_size=validation_size, seed=seed)
    return len(data.train) - held_back, held_back


def describe_split(data: ImageData) -> str:
    """How the images to validate on are chosen: by `content`, or `given` with their fingerprint."""
    return "content" if data.validation is None else f"given {data.validation.fingerprint}"


def split_train_validation(
    image_set: ImageSet, *, validation_size: float, seed: int
) -> tuple[ImageSet, ImageSet | None]:
    """Hold images back to validate on, chosen by a digest of their pixels and the seed.

    Both parts keep the order of the whole. They are disjoint and together they are the whole. Reordering
    moves no image from one part to the other. Nor does adding images to a share, unless they are so few that
    the share had none and one was taken; added to a number of images,
    they may send some of those held back to the training part, and never the other way.

    Args:
        image_set: What is split.
        validation_size: How many images to hold back, copies of the last of them included; below 1, which
            share of them. 0 holds none back.
        seed: Another one holds other images back.

    Returns:
        (training part, validation part); the latter is None for size 0.

    Raises:
        DataError: The size leaves nothing to train on or to validate on, or is negative.
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
    """How many images `split_train_validation` holds back.

    Raises:
        DataError: As there.
    """
    return int(_held_back(image_set, validation_size, seed).sum())


def hold_out_test(image_set: ImageSet, *, name: str) -> tuple[ImageSet, ImageSet]:
    """(training part, test part) of images that came without test images: a tenth, whatever the run's seed.

    Adding images moves none of them from one part to the other, unless they are so few that a tenth had none
    and one was taken.

    Args:
        image_set: All images.
        name: Of the data, which names the parts.

    Raises:
        DataError: One of the parts would be empty.
    """
    held_out = _lowest_share(_numbers(image_set, "test", _TEST_SEED), TEST_SHARE)
    if not 0 < held_out.sum() < len(image_set):
        raise DataError(
            f"{name}: expected enough different images to hold a tenth out for the test, got "
            f"{len(np.unique(image_set.digests, axis=0)):,} different ones. Give more, or a test part of "
            "their own: a folder named test, or the key test_images."
        )
    return (
        image_set.take(torch.from_numpy(np.flatnonzero(~held_out)), name=f"{name} train"),
        image_set.take(
            torch.from_numpy(np.flatnonzero(held_out)),
            name=f"{name} test (a tenth of {len(image_set):,}, held out by content hash)",
        ),
    )


def shared_images(first: ImageSet, second: ImageSet) -> int:
    """How many images of the second set are, pixel for pixel, in the first."""
    known = {digest.tobytes() for digest in first.digests}
    return sum(digest.tobytes() in known for digest in second.digests)


def _held_back(image_set: ImageSet, size: float, seed: int) -> npt.NDArray[np.bool_]:
    if not 0 <= size < len(image_set):
        raise DataError(
            f"data.validation_size: expected 0 to {len(image_set) - 1:,} of the {len(image_set):,} images of "
            f"{image_set.name}, got {size:,}. Hold back fewer: "
            f"--set data.validation_size={len(image_set) // 10} leaves nine tenths to train on."
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
            f"data.validation_size: expected images on both sides of the split, got {int(held_back.sum()):,} "
            f"of the {len(image_set):,} images of {image_set.name} held back by {size:,}. Give more "
            "different images, or another size."
        )
    return held_back


def _numbers(image_set: ImageSet, purpose: str, seed: int) -> npt.NDArray[np.uint64]:
    """A number below 2^64 for each image, as good as drawn at random, that its pixels decide."""
    key, person = seed.to_bytes(8, "little"), purpose.encode()
    digests = (
        hashlib.blake2b(digest, digest_size=8, key=key, person=person).digest()
        for digest in image_set.digests
    )
    return np.frombuffer(b"".join(digests), np.dtype("<u8"))


def _lowest_share(numbers: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Those below the share of all numbers; where that is none or all of few, one image more or less."""
    lowest: npt.NDArray[np.bool_] = numbers < np.uint64(share * 2.0**64)
    if not lowest.any():
        lowest = numbers == numbers.min()
    elif lowest.all():
        lowest = numbers != numbers.max()
    return lowest
