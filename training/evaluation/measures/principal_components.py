"""Principal component analysis as the baseline of a reconstruction: the error of k linear directions.

Knows image sets. Knows nothing of models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.data import ImageSet, to_unit_interval

#: Passes over the images, each a step of subspace iteration; and additional directions, which speed up its
#: convergence (Halko et al. 2009, arXiv:0909.4061, algorithm 4.4 and section 4.2).
_PASSES = 6
_BEYOND = 10
_SEED = 0
#: Numbers in the matrix of directions: 32 MB in float32, of which a few copies exist, some in float64.
_MAX_NUMBERS = 8 * 1024**2


def most_components(image_shape: tuple[int, int, int]) -> int:
    """The most components whose computation is bounded for images (C, H, W): 160 for 3 × 128 × 128."""
    return max(1, _MAX_NUMBERS // math.prod(image_shape) - _BEYOND)


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The mean image and the directions of largest variation, largest first."""

    mean: Float64[Tensor, " pixel"]
    directions: Float64[Tensor, "pixel component"]
    """Orthonormal columns."""

    @classmethod
    def of(cls, images: ImageSet, components: int) -> PrincipalComponents:
        """Fit to all images, a chunk at a time: memory for a few numbers per pixel and component.

        There are fewer components if the pixels or images are fewer than requested.
        """
        count, pixels = len(images), math.prod(images.image_shape)
        mean = torch.zeros(pixels, dtype=torch.float64)
        for chunk in images.chunks():
            mean += _rows(chunk).sum(dim=0)
        mean /= count
        centre = mean.float()
        width = min(components + _BEYOND, pixels, count)
        generator = torch.Generator().manual_seed(_SEED)
        found = _orthonormal(torch.randn(pixels, width, generator=generator))
        for _ in range(_PASSES if components else 0):
            image_of_it = torch.zeros_like(found)
            for chunk in images.chunks():
                centred = _rows(chunk) - centre
                image_of_it += centred.T @ (centred @ found)
            found = _orthonormal(image_of_it)
        within = torch.zeros(width, width)
        for chunk in images.chunks() if components else ():
            coordinates = (_rows(chunk) - centre) @ found
            within += coordinates.T @ coordinates
        turned = torch.linalg.eigh(within.double()).eigenvectors.flip(1)
        return cls(mean=mean, directions=(found.double() @ turned)[:, :components])

    def rmse(self, images: ImageSet) -> float:
        """Root of the mean squared difference of all pixels between images and their projections."""
        squares = 0.0
        for chunk in images.chunks():
            centred = _rows(chunk).double() - self.mean
            # An orthonormal basis: the loss is the length less the length of the coordinates.
            squares += centred.square().sum().item() - (centred @ self.directions).square().sum().item()
        return math.sqrt(max(0.0, squares) / (len(images) * len(self.mean)))


def _rows(chunk: object) -> Float[Tensor, "n pixel"]:
    return to_unit_interval(torch.as_tensor(chunk)).flatten(start_dim=1)


def _orthonormal(columns: Float[Tensor, "pixel k"]) -> Float[Tensor, "pixel k"]:
    basis: Tensor = torch.linalg.qr(columns.double()).Q
    return basis.float()
