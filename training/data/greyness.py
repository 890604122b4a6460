"""Whether a Bernoulli suits the pixels of an image set: the random part of their variance.

Knows image sets. Knows nothing of models or configurations.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from training.data.images import ImageSet

#: Above this, most of the variance that a Bernoulli must explain is the noise of drawing zeros and ones.
#: Measured on training images: MNIST 0.16, Fashion-MNIST 0.39, 8 × 8 digits of 17 levels 0.33.
MAX_GREYNESS: Final = 0.5
#: Above this, the pixels are more than slightly smoothed zeros and ones.
MAX_GREYNESS_OF_BINARY: Final = 0.01


def greyness(images: ImageSet) -> float:
    """How far pixels are from 0 or 1: the random share of the variance of binarised pixels.

    For grey levels p and b ~ Bernoulli(p), Var(b) = Var(p) + E[p (1 - p)] over all pixels; this is E[p (1 -
    p)] / Var(b). 0 for pixels that are 0 or 1, 1 if all have the same grey.
    """
    counts = np.zeros(256)
    for chunk in images.chunks():
        counts += np.bincount(chunk.reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    mean, mean_square = (float(counts @ moment / counts.sum()) for moment in (levels, levels**2))
    variance = mean * (1.0 - mean)
    return (mean - mean_square) / variance if variance > 0.0 else 0.0
