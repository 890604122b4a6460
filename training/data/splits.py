"""Holding images back from training, the same ones for the same seed.

Knows image sets. Knows nothing of models or files.
"""

from __future__ import annotations

import torch

from training.data.images import ImageSet
from training.errors import DataError


def split_train_validation(
    image_set: ImageSet, *, validation_size: int, seed: int
) -> tuple[ImageSet, ImageSet | None]:
    """Hold `validation_size` images back, drawn without replacement from a seeded permutation.

    Both parts keep the order of the whole. They are disjoint and together they are the whole.

    Args:
        image_set: What is split.
        validation_size: Images to hold back; 0 holds none back.
        seed: Of the permutation; the same seed and size give the same split.

    Returns:
        (training part, validation part); the latter is None for size 0.

    Raises:
        DataError: The size leaves nothing to train on, or is negative.
    """
    if not 0 <= validation_size < len(image_set):
        raise DataError(
            f"data.validation_size: expected 0 to {len(image_set) - 1:,} of the {len(image_set):,} images of "
            f"{image_set.name}, got {validation_size:,}. Hold back fewer: "
            f"--set data.validation_size={len(image_set) // 10} leaves nine tenths to train on."
        )
    if validation_size == 0:
        return image_set, None
    order = torch.randperm(len(image_set), generator=torch.Generator().manual_seed(seed))
    held_back, kept = order[:validation_size].sort().values, order[validation_size:].sort().values
    return (
        image_set.take(kept),
        image_set.take(held_back, name=f"{image_set.name}, {validation_size:,} held back (seed {seed})"),
    )
