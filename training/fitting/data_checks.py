"""Alarms before hours are spent, and no refusals: whether a likelihood fits the images, and the like.

Knows image sets and configurations. Knows nothing of models or files.
"""

from __future__ import annotations

import numpy as np

from training.config.recipe import RunConfig
from training.data import ImageSet

#: Above this, most of what a Bernoulli is asked to explain is the noise of drawing zeros and ones.
#: Measured on training images: MNIST 0.16, Fashion-MNIST 0.39, 8 × 8 digits of 17 levels 0.33.
MAX_GREYNESS = 0.5
#: Above this, pixels are no longer zeros and ones that were smoothed a little.
MAX_GREYNESS_OF_BINARY = 0.01


def greyness(images: ImageSet) -> float:
    """How far pixels are from being 0 or 1: the share of the variance of binarised pixels that is chance.

    For grey levels p and b ~ Bernoulli(p), Var(b) = Var(p) + E[p (1 - p)] over all pixels; this is
    E[p (1 - p)] / Var(b). 0 for pixels that are 0 or 1, 1 where all have the same grey.
    """
    counts = np.zeros(256)
    for chunk in images.chunks():
        counts += np.bincount(chunk.reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    mean, mean_square = (float(counts @ moment / counts.sum()) for moment in (levels, levels**2))
    variance = mean * (1.0 - mean)
    return (mean - mean_square) / variance if variance > 0.0 else 0.0


def objections(config: RunConfig, images: ImageSet) -> list[str]:
    """What is likely to disappoint, in sentences; empty where nothing is."""
    return [*_of_the_start(config), *_of_the_likelihood(config, images)]


def _of_the_start(config: RunConfig) -> list[str]:
    start, warmup = config.trainer.start_from, config.objective.beta_warmup_epochs
    if not start or not warmup:
        return []
    return [
        f"training begins with the weights of {start}, but objective.beta_warmup_epochs = {warmup:g} takes "
        "the KL term away at first, which undoes them. Set it to 0."
    ]


def _of_the_likelihood(config: RunConfig, images: ImageSet) -> list[str]:
    """What a Bernoulli likelihood cannot do with these images."""
    if config.model.likelihood.name != "bernoulli":
        return []
    share = greyness(images)
    if config.data.binarisation == "grey" and share > MAX_GREYNESS_OF_BINARY:
        return [
            "the pixels are grey and are not binarised, but model.likelihood is bernoulli: the cross-entropy "
            "that is trained is no likelihood, and figures are measured on binarised pixels. Set "
            "data.binarisation = 'dynamic', or model.likelihood.name = 'gaussian'."
        ]
    if config.data.binarisation == "dynamic" and share > MAX_GREYNESS:
        return [
            "model.likelihood is bernoulli, but the images are far from black and white: of the variance of "
            f"their binarised pixels, {100 * share:.0f} % is chance. Use a Gaussian, as the recipe "
            "images-gaussian does."
        ]
    return []
