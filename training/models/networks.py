"""Trunks: from an image to features, and from latents to one number per pixel.

Knows shapes and layers. Knows nothing of posteriors, likelihoods or objectives. There is no batch
normalisation: the result for an example must not depend on the rest of its batch. Every shape is derived from
the image's, so any side from 8 pixels works.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

ImageShape = tuple[int, int, int]


def mlp_encoder(*, image_shape: ImageShape, hidden: Sequence[int], outputs: int) -> nn.Module:
    """Image → `outputs` numbers through fully connected layers of the given widths."""
    return nn.Sequential(nn.Flatten(), _mlp([prod(image_shape), *hidden, outputs]))


def mlp_decoder(*, image_shape: ImageShape, hidden: Sequence[int], latent_size: int) -> nn.Module:
    """Latent vector → one number per pixel through fully connected layers of the given widths."""
    return nn.Sequential(_mlp([latent_size, *hidden, prod(image_shape)]), nn.Unflatten(1, image_shape))


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))): two 3 × 3 convolutions that start as the identity.

    Source:
        He et al. 2016, arXiv:1603.05027, figure 4e (pre-activation), without normalisation; the
        last convolution starts at zero as in Zhang et al. 2019, arXiv:1901.09321, section 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = nn.SiLU()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # bias=True above

    def forward(
        self, x: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """x plus the output of the two convolutions."""
        residual: Tensor = self.second(self.activation(self.first(self.activation(x))))
        return x + residual


def halved(side: int, times: int) -> int:
    """Side of an image after `times` stride-2 convolutions that round up."""
    for _ in range(times):
        side = (side + 1) // 2
    return side


def _inward(image_channels: int, channels: Sequence[int], blocks: Sequence[int]) -> list[nn.Module]:
    """Stages that halve the sides: conv 3×3 /2, then residual blocks."""
    stages: list[nn.Module] = []
    for (inside, outside), depth in zip(pairwise([image_channels, *channels]), blocks, strict=True):
        stages.append(nn.Conv2d(inside, outside, 3, stride=2, padding=1))
        stages += [ResidualBlock(outside) for _ in range(depth)]
    return [*stages, nn.SiLU()]


def _outward(image_channels: int, channels: Sequence[int], blocks: Sequence[int]) -> list[nn.Module]:
    """The stages of `_inward` in reverse, from `channels[-1]` maps to one number per pixel.

    "×2" is a sub-pixel shuffle: four maps at half the side become one at the full side, so that nothing is
    computed at full resolution (Shi et al. 2016, arXiv:1609.05158, equation 4).
    """
    layers: list[nn.Module] = []
    outermost, *inner = blocks
    for (inside, outside), depth in zip(pairwise(reversed(channels)), reversed(inner), strict=True):
        layers += [ResidualBlock(inside) for _ in range(depth)]
        layers += [nn.Conv2d(inside, 4 * outside, 1), nn.PixelShuffle(2)]
    layers += [ResidualBlock(channels[0]) for _ in range(outermost)]
    return [*layers, nn.SiLU(), nn.Conv2d(channels[0], 4 * image_channels, 3, padding=1), nn.PixelShuffle(2)]


class ResidualEncoder(nn.Module):
    """Image → numbers, through stages that halve the sides.

    ::

        x (C, H, W) ─ conv 3×3 /2 ─ blocks ─ conv 3×3 /2 ─ blocks ─ SiLU ─ flatten ─ linear
                      channels[0]            channels[1]             (h·w·channels[-1]) → outputs
    """

    def __init__(
        self, *, image_shape: ImageShape, channels: Sequence[int], blocks: Sequence[int], outputs: int
    ) -> None:
        """`channels` and number of residual `blocks` of each stage, from the image inwards."""
        super().__init__()
        image_channels, height, width = image_shape
        self.stages = nn.Sequential(*_inward(image_channels, channels, blocks), nn.Flatten())
        features = channels[-1] * halved(height, len(channels)) * halved(width, len(channels))
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch output"]:
        """One vector of `outputs` numbers for each image."""
        out: Tensor = self.head(self.stages(x))
        return out


class ResidualDecoder(nn.Module):
    """Latent vector → one number per pixel, the encoder's stages in reverse.

    ::

        z ─ linear ─ (channels[-1], h, w) ─ blocks ─ conv 1×1, ×2 ─ blocks ─ SiLU ─ conv 3×3, ×2 ─ crop
                                                     channels[0]                    C
    """

    def __init__(
        self, *, image_shape: ImageShape, channels: Sequence[int], blocks: Sequence[int], latent_size: int
    ) -> None:
        """`channels` and number of residual `blocks` of each stage, from the image inwards."""
        super().__init__()
        image_channels, self.height, self.width = image_shape
        inwards = len(channels)
        start = (channels[-1], halved(self.height, inwards), halved(self.width, inwards))
        self.layers = nn.Sequential(
            nn.Linear(latent_size, prod(start)),
            nn.Unflatten(1, start),
            *_outward(image_channels, channels, blocks),
        )

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """One number for each pixel of each image, unbounded."""
        out: Tensor = self.layers(z)
        # Crop sides that the encoder rounded up; a no-op for multiples of 4.
        return out[:, :, : self.height, : self.width]


class SpatialEncoder(nn.Module):
    """Image → maps of numbers, one position for each patch of the image; no layer sees all positions.

    ::

        x (C, H, W) ─ conv 3×3 /2 ─ blocks ─ … ─ SiLU ─ conv 3×3 ─ (outputs, h, w) ─ flatten
                      channels[0]
    """

    def __init__(
        self, *, image_shape: ImageShape, channels: Sequence[int], blocks: Sequence[int], outputs: int
    ) -> None:
        """`outputs` of each position; otherwise as `ResidualEncoder`."""
        super().__init__()
        self.stages = nn.Sequential(*_inward(image_shape[0], channels, blocks))
        self.head = nn.Conv2d(channels[-1], outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch output"]:
        """The maps of each image, flat in C order: map by map, row by row."""
        out: Tensor = self.head(self.stages(x))
        return out.flatten(start_dim=1)


class SpatialDecoder(nn.Module):
    """Maps of latents → one number per pixel, the encoder's stages in reverse.

    ::

        z ─ (c, h, w) ─ conv 3×3 ─ blocks ─ conv 1×1, ×2 ─ … ─ SiLU ─ conv 3×3, ×2 ─ crop
                        channels[-1]                                  C
    """

    def __init__(
        self,
        *,
        image_shape: ImageShape,
        channels: Sequence[int],
        blocks: Sequence[int],
        latent_shape: tuple[int, int, int],
    ) -> None:
        """`latent_shape` is (c, h, w); otherwise as `ResidualDecoder`."""
        super().__init__()
        image_channels, self.height, self.width = image_shape
        self.layers = nn.Sequential(
            nn.Unflatten(1, latent_shape),
            nn.Conv2d(latent_shape[0], channels[-1], 3, padding=1),
            *_outward(image_channels, channels, blocks),
        )

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """One number for each pixel of each image, unbounded; z is flat in C order."""
        out: Tensor = self.layers(z)
        return out[:, :, : self.height, : self.width]


def soft_bound(
    raw: Float[Tensor, "batch latent"], *, low: float, high: float
) -> Float[Tensor, "batch latent"]:
    """Squash real numbers into [low, high] by a tanh whose slope is 1 in the middle.

    Unlike a clamp it keeps a gradient near the bounds, so a unit that strayed there returns. exp(logvar) can
    then neither overflow nor reach zero.
    """
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return middle + half * torch.tanh((raw - middle) / half)
