"""Whether a measured model is worth publishing, and the change to make if it is not.

Knows figures by name. Knows nothing of models, files or commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from training.objectives.exploding_codes import divergence
from training.objectives.posterior_collapse import (
    STEPS_TO_LEARN,
    is_collapsed,
    reconstructs_the_mean_image,
)

_ANEW = "and train in another --out"


def reason_against_publishing(
    values: Mapping[str, float],
    *,
    image_shape: tuple[int, int, int] | None = None,
    steps: int | None = None,
) -> str:
    """The gravest fault of a model and what to change, in a sentence or two; empty if there is none.

    Args:
        values: The figures of an evaluation by name; those that were not measured are left out.
        image_shape: Shape of an image, to recognise codes that diverge.
        steps: Steps of the training, if known: a model of few steps has not collapsed.
    """
    return next(_reasons(values, image_shape, steps), "")


def _reasons(
    values: Mapping[str, float], image_shape: tuple[int, int, int] | None, steps: int | None
) -> Iterator[str]:
    if image_shape is not None and (explosion := divergence(values.get("kl", 0.0), image_shape)):
        yield f"{explosion}, {_ANEW}."
    if has_collapsed(values):
        if steps is not None and steps < STEPS_TO_LEARN:
            yield (
                f"the latents carry no information about the images yet, after {steps} steps. Train for at "
                "least some hundred steps: --resume --set trainer.epochs=N"
            )
        elif "kl" in values:
            yield (
                "the latents carry no information about the images (posterior collapse). Lower "
                f"objective.beta or optimiser.learning_rate, or raise objective.beta_warmup_epochs, {_ANEW}."
            )
        else:
            yield (
                "the decoder ignores the latents: every reconstruction is the mean image. Lower "
                f"optimiser.learning_rate, {_ANEW}."
            )
    if explains_nothing(values):
        yield (
            "it explains the images no better than their mean image does. Train for longer (--resume --set "
            "trainer.epochs=N), or check whether these are its images."
        )
    if is_worse_than_lines(values):
        yield (
            "as many principal components reconstruct the images better. Train for longer (--resume --set "
            f"trainer.epochs=N); or widen the layers of model.trunk, {_ANEW}."
        )


def has_collapsed(values: Mapping[str, float]) -> bool:
    """Whether the latents carry no information about the image, or the decoder ignores them."""
    if "kl" in values:
        return is_collapsed(values["kl"])
    if "mean_image_rmse" not in values:  # measured by an earlier version
        return False
    return reconstructs_the_mean_image(
        rmse=values["reconstruction_rmse"], mean_image_rmse=values["mean_image_rmse"]
    )


def explains_nothing(values: Mapping[str, float]) -> bool:
    """Whether a model without latents is as good: the mean of the training images."""
    cost = values.get("negative_elbo", values.get("reconstruction_nll"))
    return cost is not None and "nll_of_mean_image" in values and cost >= values["nll_of_mean_image"]


def is_worse_than_lines(values: Mapping[str, float]) -> bool:
    """Whether the reconstructions are worse than those of as many principal components."""
    return "pca_rmse" in values and values["reconstruction_rmse"] > values["pca_rmse"]
