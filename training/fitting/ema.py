"""Exponential moving average (EMA) of the weights, for validation, checkpoints and export.

Knows Lightning's averaging callback. Knows nothing of the run directory.
"""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from training.fitting.lightning_module import averaged_model
from training.models import LatentImageModel


def decay_after(updates: float, *, decay: float) -> float:
    """Share of the old mean in the next update: min(decay, (1 + n) / (10 + n)) for n = `updates`.

    Source:
        The schedule of TensorFlow's `tf.train.ExponentialMovingAverage(num_updates=…)`.
    """
    return min(decay, (1.0 + updates) / (10.0 + updates))


class RunningMeanOfWeights(WeightAveraging):
    """EMA whose memory grows with the run, so that it does not delay early epochs.

    With `decay_after` the mean forgets the initial weights within a few dozen steps instead of a few
    thousand.

    Source:
        Izmailov et al. 2018, arXiv:1803.05407, section 3, describes the effect of averaging.
    """

    def __init__(self, decay: float) -> None:
        """`decay` per optimiser step, below 1."""

        def mean(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            return torch.lerp(averaged, current, 1.0 - decay_after(float(updates), decay=decay))

        super().__init__(avg_fn=mean)

    @property
    def model(self) -> LatentImageModel:
        """The model with the averaged weights."""
        assert self._average_model is not None
        return averaged_model(self._average_model.module)


def weights_to_keep(trainer: Trainer) -> LatentImageModel:
    """The model to draw with and to keep: the EMA if the run has one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it on every trainer
        if isinstance(callback, RunningMeanOfWeights):
            return callback.model
    return averaged_model(trainer.lightning_module)
