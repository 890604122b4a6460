"""The labels that a learned prior is trained with, checked before the training.

Knows configurations and image sets. Knows nothing of models or batches.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from training.config.model_section import LearnedPriorConfig
from training.config.recipe import RunConfig
from training.data import ImageSet
from training.errors import DataError


def labels_to_learn(config: RunConfig, images: ImageSet) -> Int64[Tensor, " n"] | None:
    """The labels of the training images, if the recipe's prior has labels.

    Raises:
        DataError: The images have no labels, or others than the recipe states.
    """
    prior = config.model.prior
    if not isinstance(prior, LearnedPriorConfig) or prior.labels == 0:
        return None
    if images.labels is None:
        raise DataError(
            f"{images.name}: expected images with labels, as model.prior.labels = {prior.labels} needs, got "
            "images without. Set model.prior.labels = 0, or give the label files."
        )
    used = np.unique(images.labels.numpy()).tolist()
    if used != list(range(prior.labels)):
        raise DataError(
            f"{images.name}: expected images of each label from 0 to {prior.labels - 1}, as "
            f"model.prior.labels = {prior.labels} states, got images of {len(used)} labels from {used[0]} to "
            f"{used[-1]}. Set model.prior.labels to the number of labels, or to 0."
        )
    return images.labels
