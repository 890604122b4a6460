"""Sets of images for training: uint8 pixels in memory or on disk, converted to [0, 1] batch by batch.

Knows tensors, labels, digests and fingerprints. Knows nothing of files or of the origin of the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from training.data.memory_map import CHUNK_BYTES, ImagesOnDisk
from training.errors import DataError

#: Two different images share a digest with a probability of 1 in 2^128.
DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape, in one fixed order.

    Pixels stay uint8: MNIST is 47 MB this way and 188 MB as float32.
    """

    name: str
    """Name of the images, for people: such as `mnist test`."""
    images: UInt8[Tensor, "n c h w"] | ImagesOnDisk
    """Indexed by a slice or a tensor of indices, either returns a tensor."""
    labels: Int64[Tensor, " m"] | None = None
    """One per image."""

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise DataError(
                f"{self.name}: expected uint8 images (N, C, H, W), got {self.images.dtype} "
                f"{tuple(self.images.shape)}. Convert the pixels to bytes 0 to 255, channels first."
            )
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise DataError(
                f"{self.name}: expected one label for each of {len(self.images):,} images, got labels of "
                f"shape {tuple(self.labels.shape)}. Use the label file of these images."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over `uint8 n c h w`, a newline and the pixel bytes, in order.

        It ignores labels, and a reshaped set is another set.
        """
        digest = hashlib.sha256(f"uint8 {' '.join(map(str, self.images.shape))}\n".encode())
        for chunk in self.chunks():
            digest.update(chunk.data)
        return digest.hexdigest()

    @cached_property
    def digests(self) -> npt.NDArray[np.uint8]:
        """(N, 16): BLAKE2b of each image's pixels, which identifies an image in any set."""
        digests = np.empty((len(self), DIGEST_BYTES), np.uint8)
        number = 0
        for chunk in self.chunks():
            for image in chunk:
                digest = hashlib.blake2b(image.data, digest_size=DIGEST_BYTES).digest()
                digests[number] = np.frombuffer(digest, np.uint8)
                number += 1
        return digests

    def whole(self) -> UInt8[Tensor, "n c h w"]:
        """All images as one tensor in memory: for test images, which are much fewer than training images."""
        return self.images[:]

    def chunks(self) -> Iterator[npt.NDArray[np.uint8]]:
        """All images in order, a megabyte at a time, each (n, C, H, W) and contiguous."""
        step = max(1, CHUNK_BYTES // int(np.prod(self.image_shape)))
        for start in range(0, len(self), step):
            yield np.ascontiguousarray(self.images[start : start + step].cpu().numpy())

    def take(self, indices: Int64[Tensor, " m"], *, name: str | None = None) -> ImageSet:
        """The images at `indices`, in that order, as a set with a fingerprint of its own."""
        labels = None if self.labels is None else self.labels[indices]
        images = (
            self.images.select(indices) if isinstance(self.images, ImagesOnDisk) else self.images[indices]
        )
        return ImageSet(name=name or self.name, images=images, labels=labels)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A training set, a test set and an optional validation set, all of one image shape."""

    name: str
    """`mnist` or `fashion-mnist` only if every decompressed file equals the original byte for byte, otherwise
    the origin of the images: `idx`, `folder NAME` or `npz NAME`."""
    train: ImageSet
    test: ImageSet
    label_names: tuple[str, ...] = ()
    """Names of the labels 0, 1, …; empty if labels are numbers, or if there are none."""
    notes: tuple[str, ...] = ()
    """Notes for the user about the reading of the images."""
    validation: ImageSet | None = None
    """The user's validation images; None if each run holds out some of `train`."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.image_shape


def to_unit_interval(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Grey levels 0 to 255 as float32 in [0, 1]."""
    return images.to(torch.float32) / 255.0
