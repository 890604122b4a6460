"""Diverging runs: figures that are not finite, or codes whose KL explodes.

Knows costs in nats and Lightning's hooks. Knows nothing of models or files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from training.errors import NonFiniteTraining
from training.objectives.exploding_codes import REMEDY, divergence

#: Consecutive steps before a warning: one batch may be unusual.
PATIENCE_STEPS = 10


class DivergenceAlarm(Callback):
    """Warns once, within the epoch, when the KL of the codes explodes."""

    def __init__(self, image_shape: tuple[int, int, int], say: Callable[[str], None]) -> None:
        """`say` receives the line."""
        self._image_shape = image_shape
        self._say = say
        self._steps = 0
        self._said = False

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  # Lightning decides what its hooks are given
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Count the consecutive steps with an unreasonable KL."""
        told = "" if self._said else divergence(float(outputs["kl"]), self._image_shape)
        self._steps = self._steps + 1 if told else 0
        if self._steps == PATIENCE_STEPS:
            self._said = True
            self._say(f"warning: step {trainer.global_step}: {told}.")


def check_validation(reconstruction_nll: float, kl: float, *, epoch: int) -> None:
    """Reject weights whose validation is not finite.

    Raises:
        NonFiniteTraining: One of the costs is NaN or infinite.
    """
    if not (math.isfinite(reconstruction_nll) and math.isfinite(kl)):
        raise NonFiniteTraining(
            f"epoch {epoch}: expected finite costs of the validation images, got reconstruction "
            f"{reconstruction_nll} and KL {kl}. The last checkpoint is kept. {REMEDY} in a new run."
        )
