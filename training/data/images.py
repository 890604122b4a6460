"""Sets of images as training sees them: uint8 pixels in memory, turned into [0, 1] batch by batch.

Knows tensors, labels and fingerprints. Knows nothing of files or of where the images came from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from training.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape, in one fixed order.

    Pixels stay uint8: MNIST is 47 MB this way and 188 MB as float32.
    """

    name: str
    """What the images are, for people: such as `mnist test`."""
    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " m"] | None = None
    """One for each image."""
    fingerprint: str = field(init=False)
    """SHA-256 over the shape and the pixel bytes, in order; labels have no part in it."""

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise DataError(
                f"{self.name}: expected uint8 images (N, C, H, W), got {self.images.dtype} "
                f"{tuple(self.images.shape)}. Convert the pixels to bytes 0 to 255, channels first."
            )
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise DataError(
                f"{self.name}: expected one label for each of {len(self.images):,} images, "
                f"got labels shaped {tuple(self.labels.shape)}. Give the label file of these images."
            )
        object.__setattr__(self, "fingerprint", fingerprint(self.images))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def take(self, indices: Int64[Tensor, " m"], *, name: str | None = None) -> ImageSet:
        """The images at `indices`, in that order, as a set with a fingerprint of its own."""
        labels = None if self.labels is None else self.labels[indices]
        return ImageSet(name=name or self.name, images=self.images[indices], labels=labels)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A training set and a test set of the same image shape."""

    name: str
    """`mnist` only when every decompressed file is byte for byte the original, otherwise `idx`."""
    train: ImageSet
    test: ImageSet

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.image_shape


def to_unit_interval(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Grey levels 0 to 255 as float32 in [0, 1]."""
    return images.to(torch.float32) / 255.0


def fingerprint(images: UInt8[Tensor, "n c h w"]) -> str:
    """SHA-256 over `uint8 n c h w`, a newline and the pixel bytes: a reshaped set is another set."""
    digest = hashlib.sha256(f"uint8 {' '.join(map(str, images.shape))}\n".encode())
    digest.update(images.contiguous().cpu().numpy().data)
    return digest.hexdigest()
