"""Posterior collapse: when the latents of a model carry no information about the image.

Knows figures: nats and root mean squared errors. Knows nothing of models, runs or messages.
"""

from __future__ import annotations

from typing import Final

#: Below this KL the posterior carries almost no information: the decoder ignores z.
COLLAPSED_KL_NATS: Final = 1.0
#: A model after fewer steps has not learned yet; it has not collapsed.
STEPS_TO_LEARN: Final = 50
#: Reconstructions with more than this share of the error of the mean image are the mean image.
_COLLAPSED_ERROR_SHARE: Final = 0.99


def is_collapsed(kl: float) -> bool:
    """Whether a posterior has collapsed.

    Args:
        kl: KL(q(z|x) ‖ p(z)), mean over images, in nats.
    """
    return kl < COLLAPSED_KL_NATS


def reconstructs_the_mean_image(*, rmse: float, mean_image_rmse: float) -> bool:
    """Whether a decoder returns the mean image for every image: the collapse of an autoencoder.

    Args:
        rmse: Root mean squared error of the reconstructions, in units of [0, 1].
        mean_image_rmse: The same error of the mean image.
    """
    return rmse > _COLLAPSED_ERROR_SHARE * mean_image_rmse
