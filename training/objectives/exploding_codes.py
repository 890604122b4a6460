"""Codes whose KL explodes: when the posterior of an image costs more than its pixels.

Knows figures: nats and the shape of an image. Knows nothing of models, runs or steps.
"""

from __future__ import annotations

import math
from typing import Final

REMEDY: Final = "Raise objective.beta (1 is the ELBO itself), or lower optimiser.learning_rate"


def most_kl_nats(image_shape: tuple[int, int, int]) -> float:
    """Above this, the code of an image costs more than its pixels as bytes: D · ln 256."""
    return math.prod(image_shape) * math.log(256.0)


def divergence(kl: float, image_shape: tuple[int, int, int]) -> str:
    """A message about a KL, in nats per image, that exploded; empty for any other KL."""
    most = most_kl_nats(image_shape)
    if not kl > most:
        return ""
    return (
        f"the codes diverge: KL {kl:,.0f} nats per image, more than the {most:,.0f} of its pixels as bytes. "
        f"Samples from the prior are meaningless. {REMEDY}"
    )
