"""The meaning of a grey level to a likelihood: a probability to draw from, or a value.

Knows pixels in [0, 1] and generators. Knows nothing of files, models or epochs.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from training.randomness.noise import Source, uniform

#: `dynamic` draws every pixel anew from Bernoulli(grey level) at each call; `grey` keeps the pixels.
Binarisation = Literal["dynamic", "grey"]


def binarise(
    x: Float[Tensor, "*shape"],
    generator: Source = None,
) -> Float[Tensor, "*shape"]:
    """Draw each pixel from Bernoulli(its grey level): 0 stays 0, 1 stays 1, grey is random.

    Each call draws anew, which is called dynamic binarisation: the training set never repeats.

    Args:
        x: Grey levels in [0, 1].
        generator: Source of the random numbers; the global generator if left out.

    Returns:
        Zeros and ones, of the dtype of `x`.

    Source:
        Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks", section 4;
        as used by Burda et al. 2015, arXiv:1509.00519, section 5.1.
    """
    # Noise is in [0, 1): never below 0, always below 1, so both ends are certain.
    noise = uniform(x.shape, generator, device=x.device)
    return (noise < x).to(x.dtype)


def observe(
    x: Float[Tensor, "*shape"],
    binarisation: Binarisation,
    generator: Source = None,
) -> Float[Tensor, "*shape"]:
    """The images for the likelihood: drawn from the grey levels, or the grey levels themselves."""
    return binarise(x, generator) if binarisation == "dynamic" else x
