"""Batches of images in memory or on disk: no workers, no copies but the batch itself.

Knows uint8 images, batch sizes, shares and positions. Knows nothing of models or the meaning of pixels.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from training.data import ImagesOnDisk
from training.randomness.noise import WHOLE, Share
from training.randomness.seeding import generator_for


def steps_per_epoch(images: int, *, batch_size: int, at_least: int) -> int:
    """Batches in an epoch of so many images: those of one pass over them, or `at_least` so many.

    0 where the images do not make one batch.
    """
    of_one_pass = images // batch_size
    return max(of_one_pass, at_least) if of_one_pass else 0


class ShuffledBatches:
    """Endless epochs of shuffled full batches, with a position that can be set to any batch.

    An epoch is one pass over the images, or consecutive passes until it has its minimum of steps. The order
    of a pass depends only on the seed and the pass's number. So a position is one number: the batches served
    since the beginning, which equals the optimiser's step.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n c h w"] | ImagesOnDisk,
        *,
        batch_size: int,
        seed: int,
        share: Share = WHOLE,
        at_least: int = 0,
        labels: Int64[Tensor, " n"] | None = None,
    ) -> None:
        """Serve `share` of `batch_size` images at a time; drop an incomplete batch at the end of a pass.

        An epoch has `at_least` so many batches. With `labels`, each batch is a pair of images and labels.
        """
        self._images = images
        self._labels = labels
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        self._of_one_pass = len(images) // batch_size
        self._of_an_epoch = steps_per_epoch(len(images), batch_size=batch_size, at_least=at_least)
        self._served = 0
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._of_an_epoch

    def __iter__(self) -> Iterator[Any]:
        """The rest of the current epoch, or the whole next one at its end.

        Each batch is uint8 images (batch, c, h, w), or a pair of them and their labels (batch,).
        """
        while True:
            number, position = divmod(self._served, self._of_one_pass)
            self._served += 1
            is_last = self._served % self._of_an_epoch == 0
            start = position * self._batch_size
            chosen = self._share.of(self._order_of(number)[start : start + self._batch_size])
            images = self._images[chosen]
            yield images if self._labels is None else (images, self._labels[chosen])
            if is_last:
                return

    def _order_of(self, number: int) -> Tensor:
        """Of the pass of this number, counted from 0."""
        if self._order is None or self._order[0] != number:
            order = torch.randperm(len(self._images), generator=generator_for(self._seed, "order", number))
            self._order = (number, order)
        return self._order[1]

    def go_to(self, step: int) -> None:
        """Continue after `step` batches; also valid for an iterator that has not begun."""
        self._served = step


class OrderedBatches:
    """The images in their own order, the last batch smaller: for validation."""

    def __init__(self, images: UInt8[Tensor, "n c h w"] | ImagesOnDisk, *, batch_size: int) -> None:
        self._images = images
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch_size)

    def __iter__(self) -> Iterator[UInt8[Tensor, "batch c h w"]]:
        for start in range(0, len(self._images), self._batch_size):
            yield self._images[start : start + self._batch_size]
