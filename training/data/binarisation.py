"""What a grey level means to a likelihood: a probability to draw from, or a value to be taken as it is.

Knows pixels in [0, 1] and generators. Knows nothing of files, models or epochs.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from training.randomness.noise import Source, uniform

#: `dynamic` draws every pixel anew from Bernoulli(grey level) at each call; `grey` leaves pixels alone.
Binarisation = Literal["dynamic", "grey"]


def binarise(
    x: Float[Tensor, "*shape"],
    generator: Source = None,
) -> Float[Tensor, "*shape"]:
    """Draw each pixel from Bernoulli(its grey level): 0 stays 0, 1 stays 1, in between is chance.

    Drawn anew at every call, which is called dynamic binarisation: the training set never repeats.

    Args:
        x: Grey levels in [0, 1].
        generator: Source of the draws; the global generator when left out.

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
    """The images that the likelihood is asked about: drawn from the grey levels, or the levels themselves."""
    return binarise(x, generator) if binarisation == "dynamic" else x
