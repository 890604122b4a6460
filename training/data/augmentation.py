"""Small random distortions of images, so that no image appears twice in the same form.

Knows pixels in [0, 1] and generators. Knows nothing of recipes, models or epochs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from training.randomness.noise import Source, standard_normal, uniform

# Standard deviations at strength 1.
_ROTATION_RADIANS = 0.0873  # five degrees
_LOG_SCALE = 0.05  # of each axis
_SHEAR = 0.05
_SHIFT = 0.0357  # in half sides: half a pixel of 28


def distort(
    x: Float[Tensor, "batch channel height width"],
    *,
    fraction: float,
    strength: float,
    generator: Source,
) -> Float[Tensor, "batch channel height width"]:
    """Rotate, scale, shear and shift a `fraction` of the images, each differently; the rest stays unchanged.

    All amounts have normal distributions; pixels outside of the image are 0. Resampling is bicubic, which
    keeps edges sharper than bilinear, and clipped to [0, 1].

    Args:
        x: Grey levels or colours in [0, 1].
        fraction: Probability that an image is distorted.
        strength: 1 has standard deviations of 5°, 5 % of each axis, a shear of 0.05 and 1.8 % of the sides.
        generator: Source of the random numbers.

    Source:
        Simard et al. 2003, "Best practices for convolutional neural networks applied to visual document
        analysis", section 2 (affine distortions of MNIST).
    """
    images = len(x)
    chosen = uniform([images], generator, device=x.device) < fraction
    drawn = strength * standard_normal([images, 6], generator, device=x.device)
    angle = _ROTATION_RADIANS * drawn[:, 0]
    across, down = torch.exp(_LOG_SCALE * drawn[:, 1]), torch.exp(_LOG_SCALE * drawn[:, 2])
    shear, shift = _SHEAR * drawn[:, 3], _SHIFT * drawn[:, 4:]
    cos, sin = angle.cos(), angle.sin()
    # Rows of the 2 × 3 matrix that maps a pixel of the result to its position in the image.
    first = torch.stack([cos * across, (shear - sin) * down, shift[:, 0]], dim=-1)
    second = torch.stack([sin * across, cos * down, shift[:, 1]], dim=-1)
    # In bfloat16 a position would be wrong by a tenth of a pixel.
    with torch.autocast(x.device.type, enabled=False):
        grid = functional.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)
        moved = functional.grid_sample(x, grid, mode="bicubic", align_corners=False).clamp(0.0, 1.0)
    return torch.where(chosen.view(-1, 1, 1, 1), moved, x)
