"""Checks before hours of training: warnings, such as of a likelihood that does not suit the images.

Knows image sets and configurations. Knows nothing of models or files.
"""

from __future__ import annotations

from training.config.recipe import RunConfig
from training.data import ImageSet
from training.data.greyness import MAX_GREYNESS, MAX_GREYNESS_OF_BINARY, greyness
from training.errors import ConfigError


def check_sides(config: RunConfig, images: ImageSet) -> None:
    """Reject images that are too large for the recipe's layers.

    Raises:
        ConfigError: Names the sides, and what to change.
    """
    _, height, width = images.image_shape
    if objection := config.model.objection_to_sides(height, width):
        raise ConfigError(f"{images.name}: {objection}.")


def objections(config: RunConfig, images: ImageSet) -> list[str]:
    """Likely disappointments, in sentences; empty if there are none."""
    return [*_of_the_start(config), *_of_the_likelihood(config, images)]


def _of_the_start(config: RunConfig) -> list[str]:
    start, warmup = config.trainer.start_from or config.first_part, config.objective.beta_warmup_epochs
    if not start or not warmup:
        return []
    return [
        f"training starts with the weights of {start}, but objective.beta_warmup_epochs = {warmup:g} "
        "removes the KL term at first, which undoes them. Set it to 0."
    ]


def _of_the_likelihood(config: RunConfig, images: ImageSet) -> list[str]:
    """Warnings about a Bernoulli likelihood for these images."""
    if config.model.likelihood.name != "bernoulli":
        return []
    share = greyness(images)
    if config.data.binarisation == "grey" and share > MAX_GREYNESS_OF_BINARY:
        return [
            "the pixels are grey and are not binarised, but model.likelihood is bernoulli: training "
            "minimises a cross-entropy that is no likelihood, and figures are measured on binarised "
            "pixels. Set data.binarisation = 'dynamic', or model.likelihood.name = 'gaussian'."
        ]
    if config.data.binarisation == "dynamic" and share > MAX_GREYNESS:
        return [
            f"model.likelihood is bernoulli, but the images are far from black and white: {100 * share:.0f} "
            "% of the variance of their binarised pixels is random. Use a Gaussian, as the recipe "
            "images-gaussian does."
        ]
    return []
