"""Progress of a run for the person who started it: a line per epoch, and the state within an epoch.

Knows rows of the log, Lightning's hooks and words. Knows nothing of the display.
"""

# ruff: noqa: ARG002 # Lightning determines the arguments of its hooks

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from training.config.recipe import RunConfig
from training.fitting.callbacks import Row
from training.fitting.pace import Pace, in_words
from training.objectives.progress import Progress

#: The display needs no more states of an epoch than this.
_EVERY_S: Final = 0.2


@dataclass(frozen=True)
class Console:
    """The output of a run for the person who started it."""

    say: Callable[[str], None]
    progress: Progress | None = None
    """Receives the images of the present epoch; left out, there is one line per epoch and no more."""
    width: int | None = None
    """Columns of a terminal, for the lines of epochs; None does not wrap them."""


class RunProgress(Callback):
    """Reports the state within an epoch, and announces each epoch with its figures and times."""

    def __init__(self, config: RunConfig, console: Console, *, steps_per_epoch: int) -> None:
        self._config = config
        self._console = console
        self._steps_per_epoch = steps_per_epoch
        self._pace = Pace(config.trainer.epochs * steps_per_epoch)
        self._shown_at_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an earlier start of this run may have done steps."""
        self._pace.begin(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the images of the epoch so far, a few times a second."""
        if self._console.progress is None or monotonic() - self._shown_at_s < _EVERY_S:
            return
        self._shown_at_s = monotonic()
        batch_size = self._config.trainer.batch_size
        what = f"epoch {trainer.current_epoch + 1}/{self._config.trainer.epochs}"
        what += f", loss {float(outputs['loss']):.2f}"
        if left := self._left(trainer.global_step):
            what += f", {left}"
        done, total = (batch_idx + 1) * batch_size, self._steps_per_epoch * batch_size
        self._console.progress(what, done, total)

    def announce(self, row: Row) -> None:
        """Print the line of an epoch."""
        costs = _costs_of_vae(row) if self._config.model.kind == "vae" else _costs_of_autoencoder(row)
        times = f"{in_words(self._pace.lap_s())} this epoch, {in_words(self._pace.so_far_s)} so far"
        if row["epoch"] < self._config.trainer.epochs and (left := self._left(int(row["step"]))):
            times += f", {left}"
        line = f"epoch {row['epoch']}/{self._config.trainer.epochs}  {costs}  {times}"
        if self._console.width is not None:
            line = textwrap.fill(line, self._console.width, subsequent_indent="    ", break_on_hyphens=False)
        self._console.say(line)

    def _left(self, step: int) -> str:
        """The time until the last epoch, in words; early stopping may end the run sooner."""
        left_s = self._pace.left_s(step)
        if left_s is None:
            return ""
        early = self._config.trainer.early_stopping_epochs > 0
        return f"{'at most ' if early else ''}{in_words(left_s)} left"


def _costs_of_vae(row: Row) -> str:
    return (
        f"-ELBO train {row['train_negative_elbo']:.2f}  validation {row['validation_negative_elbo']:.2f} "
        f"(reconstruction {row['validation_reconstruction_nll']:.2f} + KL {row['validation_kl']:.2f})  "
        f"beta {row['beta']:.2f}"
    )


def _costs_of_autoencoder(row: Row) -> str:
    """Without a prior there is no bound to report."""
    return (
        f"reconstruction train {row['train_reconstruction_nll']:.2f}  "
        f"validation {row['validation_reconstruction_nll']:.2f}"
    )
