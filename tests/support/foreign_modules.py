"""A small model with open sizes, as another project's library would load it: torch modules and their words.

Knows torch. Knows nothing of a library: the modules are written here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.graphs.foreign import ForeignPair
from training.publishing.foreign import Loaded

FACTOR = 2
CHANNELS = 4


class Encoder(nn.Module):
    """sample → latent_parameters: the mean colour of 2 × 2 pixels, one empty channel, and a logvar of -6."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 2 * CHANNELS, FACTOR, stride=FACTOR)
        assert self.mean.bias is not None
        with torch.no_grad():
            self.mean.weight.zero_()
            for colour in range(3):
                self.mean.weight[colour, colour] = 1.0 / FACTOR**2
            self.mean.bias.zero_()
            self.mean.bias[CHANNELS:] = -6.0

    def forward(self, sample: Tensor) -> Tensor:
        moments: Tensor = self.mean(sample)
        return moments


class Decoder(nn.Module):
    """latent_sample → sample: each colour on its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.pick = nn.Conv2d(CHANNELS, 3, 1, bias=False)
        self.up = nn.Upsample(scale_factor=FACTOR)
        with torch.no_grad():
            self.pick.weight.zero_()
            for colour in range(3):
                self.pick.weight[colour, colour] = 1.0

    def forward(self, latent_sample: Tensor) -> Tensor:
        big: Tensor = self.up(self.pick(latent_sample))
        return big.clamp(-1.0, 1.0)


def open_pair() -> ForeignPair:
    """Values of [-1, 1], moments in one tensor, H and W open."""
    return ForeignPair(
        Encoder(),
        Decoder(),
        encoder_outputs=("latent_parameters",),
        image=(3, 16, 16),
        latent=(CHANNELS, 8, 8),
        factor=FACTOR,
        encoder_input="sample",
        decoder_input="latent_sample",
        decoder_output="sample",
    )


def open_model() -> Loaded:
    """The pair with the settings of a folder of Optimum."""
    return Loaded(
        open_pair(),
        origin="the folder small, Small of a library 1.0",
        is_optimum=True,
        settings={"scaling_factor": 0.5, "latent_channels": CHANNELS, "in_channels": 3},
    )
