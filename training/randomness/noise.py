"""Noise of a batch: the same on every device, and for any number of processes that share the batch.

Knows shapes, generators and shares. Knows nothing of seeds, images or models. Noise is drawn on the CPU
and then moved: a GPU's generator would draw other numbers from the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The share of one process: equal, consecutive parts of every batch; the default is the whole batch."""

    index: int = 0
    """Counted from 0."""
    count: int = 1

    def of(self, whole: Tensor) -> Tensor:
        """The rows of this process, from the rows of all processes."""
        rows = len(whole) // self.count
        return whole[self.index * rows : (self.index + 1) * rows]


@dataclass(frozen=True)
class SharedGenerator:
    """A generator in the same state in every process: each draws for the whole batch and keeps its share."""

    generator: torch.Generator
    share: Share


#: The share of a single process: every whole batch.
WHOLE = Share()

#: Source of the noise; None is torch's global generator.
Source = torch.Generator | SharedGenerator | None


def uniform(shape: Sequence[int], source: Source, *, device: torch.device) -> Tensor:
    """Noise in [0, 1), float32. `shape` is that of this process's share, rows first."""
    return _drawn(torch.rand, shape, source).to(device)


def standard_normal(shape: Sequence[int], source: Source, *, device: torch.device) -> Tensor:
    """Noise of N(0, 1), float32. `shape` is that of this process's share, rows first."""
    return _drawn(torch.randn, shape, source).to(device)


def _drawn(draw: Callable[..., Tensor], shape: Sequence[int], source: Source) -> Tensor:
    if not isinstance(source, SharedGenerator):
        return draw(*shape, generator=source, dtype=torch.float32)
    rows, *rest = shape
    whole = draw(rows * source.share.count, *rest, generator=source.generator, dtype=torch.float32)
    return source.share.of(whole)
