"""The start of an untrained model: pixels at the mean of the training images, sigma at their spread.

Its encoder begins with differences between pictures that are large enough to learn from.

Knows image sets, and models by their last layer and likelihood. Knows nothing of steps, files or recipes.

A decoder that starts at mean grey pulls all pixels of white or black images the same way. Adam's steps have
the same length for any gradient, so the logits diverge together, the sigmoid saturates, and the gradient of z
vanishes (`training/RESULTS.md` contains the figures). A sigma far above the spread of the pixels has the same
effect: the information in z is worth less than its KL. An encoder that hardly sees a difference between
images takes several hundred steps to find one, while the decoder learns to ignore z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.data import ImageSet
from training.models import Gaussian, LatentImageModel

#: Spread of usual images (MNIST has 0.31, discs on white 0.22), for which the default weights are suitable.
_USUAL_SPREAD = 0.2
_SMALLEST_SCALE = 0.02
#: A channel that is all black or all white starts this far from the end, where a sigmoid still has a
#: gradient.
_MARGIN = 0.01


@dataclass(frozen=True)
class PixelMoments:
    """Statistics of all pixels of a set, in units of the pixel range."""

    mean: tuple[float, ...]
    """Mean of each channel."""
    spread: float
    """Root of the mean squared distance from the channel's mean: the RMSE of an image of one colour."""

    @classmethod
    def of(cls, images: ImageSet) -> PixelMoments:
        """Summed in whole numbers: exact in any order."""
        channels, height, width = images.image_shape
        sums, squares = np.zeros(channels, np.uint64), np.zeros(channels, np.uint64)
        for chunk in images.chunks():
            sums += chunk.sum(axis=(0, 2, 3), dtype=np.uint64)
            squares += np.square(chunk, dtype=np.uint32).sum(axis=(0, 2, 3), dtype=np.uint64)
        pixels = float(len(images) * height * width)
        mean = sums / (255.0 * pixels)
        variance = np.maximum(0.0, squares / (255.0**2 * pixels) - mean**2)
        return cls(mean=tuple(map(float, mean)), spread=math.sqrt(float(variance.mean())))


def begin_at(model: LatentImageModel, moments: PixelMoments) -> None:
    """Start every image at the mean of each channel, and a learned sigma at most at the spread.

    If the pixels hardly vary, the weights of the last layer are scaled down in the same proportion: the
    variation of an untrained decoder around the mean must not exceed the variation of the images. The weights
    of the encoder's first layer are scaled up in the same proportion, around the mean image.

    Every likelihood here takes its mean through a sigmoid, so the bias of the last layer is the logit. Its
    outputs are ordered by channel in each trunk: the pixels of a fully connected one, the sub-pixels of a
    convolution.
    """
    last = [layer for layer in model.decoder.modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
    assert last.bias is not None, "every layer of our trunks has one"
    mean = torch.tensor(moments.mean)
    logits = torch.logit(mean.clamp(_MARGIN, 1.0 - _MARGIN))
    scale = min(1.0, max(_SMALLEST_SCALE, moments.spread / _USUAL_SPREAD))
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.copy_(logits.repeat_interleave(last.bias.numel() // len(mean)))
    if scale < 1.0:
        _magnify_differences(model, mean, by=1.0 / scale)
    likelihood = model.likelihood
    if isinstance(likelihood, Gaussian) and likelihood.learned:
        likelihood.begin_at(min(float(likelihood.sigma.detach()), moments.spread))


def _magnify_differences(model: LatentImageModel, mean: Tensor, *, by: float) -> None:
    """Let the encoder's first layer respond `by` times as much to differences from the mean picture.

    Its response to the mean picture stays as it was, except where a kernel reaches beyond the edge. The
    inputs of the layer are ordered by channel in each trunk.
    """
    first = next(layer for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    assert first.bias is not None, "every layer of our trunks has one"
    weights = first.weight.flatten(start_dim=1)
    with torch.no_grad():
        to_mean = weights @ mean.repeat_interleave(weights.shape[1] // len(mean))
        first.weight.mul_(by)
        first.bias.sub_((by - 1.0) * to_mean)
