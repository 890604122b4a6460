"""Where the pixels of an untrained model begin: at the mean of the training pictures.

Knows image sets, and models by their last layer. Knows nothing of steps, files or recipes.

A decoder that begins at mean grey pulls all pixels of white or black pictures the same way. Adam's steps have
the same length whatever the gradient, so the logits run away together, the sigmoid saturates, and z gets no
gradient any more (`training/RESULTS.md` has the figures).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.data import ImageSet
from training.models import LatentImageModel

#: A channel that is all black or all white begins this far from it, where a sigmoid still has a gradient.
_MARGIN = 0.01


def mean_of_channels(images: ImageSet) -> Float[Tensor, " channel"]:
    """Mean of all pixels of each channel, in [0, 1], summed in whole numbers: exact in any order."""
    sums = np.zeros(images.image_shape[0], np.uint64)
    for chunk in images.chunks():
        sums += chunk.sum(axis=(0, 2, 3), dtype=np.uint64)
    _, height, width = images.image_shape
    return torch.from_numpy(sums / (255.0 * len(images) * height * width)).float()


def begin_at_mean(model: LatentImageModel, mean: Float[Tensor, " channel"]) -> None:
    """Let the bias of the last decoder layer give every picture the mean of each channel.

    Every likelihood here takes its mean through a sigmoid, so the bias is the logit. A layer's outputs are
    ordered by channel in each trunk: pixels of a fully connected one, the sub-pixels of a convolution.
    """
    last = [layer for layer in model.decoder.modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
    assert last.bias is not None, "every layer of our trunks has one"
    logits = torch.logit(mean.clamp(_MARGIN, 1.0 - _MARGIN))
    with torch.no_grad():
        last.bias.copy_(logits.repeat_interleave(last.bias.numel() // len(mean)))
