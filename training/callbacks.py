"""What happens around the steps of a run: the epoch log, checkpoints, pictures, alarms, stopping.

Knows Lightning's hooks and the run directory. Knows nothing of objectives.
"""

# ruff: noqa: ARG002  # Lightning decides what its hooks are given

from __future__ import annotations

import csv
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO

from training.averaging import weights_to_keep
from training.batches import ShuffledBatches
from training.errors import NonFiniteTraining, TrainingInterrupted
from training.module import FittingModule
from training.run_directory import RunDirectory, save_model, write_tensors, write_text

Row = dict[str, float | int]
_SUMMED = ("reconstruction_nll", "kl")


class EpochLog(Callback):
    """`log.csv`: one line per epoch, each figure the mean over the epoch's images, in nats per image.

    Lines and running sums live in the checkpoint and the file is written from them, so a resumed
    run's log has neither gaps nor repetitions.
    """

    def __init__(self, directory: RunDirectory, *, every_steps: int, announce: Callable[[Row], None]) -> None:
        """`announce` is told each line; TensorBoard gets a step's figures `every_steps`."""
        self._directory = directory
        self._every_steps = every_steps
        self._announce = announce
        self._rows: list[Row] = []
        self._train = _no_sums()
        self._validation = _no_sums()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lines so far."""
        return tuple(self._rows)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _add(self._train, outputs, images=len(batch))
        if pl_module.logger is not None and trainer.global_step % self._every_steps == 0:
            figures = {f"step/{name}": float(outputs[name]) for name in ("loss", *_SUMMED)}
            pl_module.logger.log_metrics(figures, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation = _no_sums()

    def on_validation_batch_end(  # noqa: PLR0917  # Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        _add(self._validation, outputs, images=len(batch))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FittingModule)
        row: Row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        for part, sums in (("train", self._train), ("validation", self._validation)):
            reconstruction_nll, kl = (sums[name] / max(1.0, sums["images"]) for name in _SUMMED)
            row[f"{part}_negative_elbo"] = reconstruction_nll + kl
            row[f"{part}_reconstruction_nll"] = reconstruction_nll
            row[f"{part}_kl"] = kl
        # Of the epoch's last step.
        row["beta"] = pl_module.beta(trainer.global_step - 1)
        row["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        self._rows.append(row)
        self._train = _no_sums()
        self._write()
        if pl_module.logger is not None:
            pl_module.logger.log_metrics({f"epoch/{k}": v for k, v in row.items()}, trainer.global_step)
        self._announce(row)

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in self._rows:
            writer.writerow({k: v if isinstance(v, int) else f"{v:.6g}" for k, v in row.items()})
        write_text(self._directory.log, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self._rows), "train": dict(self._train)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = list(state_dict["rows"])
        self._train = dict(state_dict["train"])


def _no_sums() -> dict[str, float]:
    return dict.fromkeys(("images", *_SUMMED), 0.0)


def _add(sums: dict[str, float], outputs: Any, *, images: int) -> None:
    sums["images"] += images
    for name in _SUMMED:
        sums[name] += images * float(outputs[name])


class PositionOfBatches(Callback):
    """Puts the batches where the optimiser is.

    Lightning restores a loader's own state only from checkpoints within an epoch, not from those at
    its end; the step is right in both.
    """

    def __init__(self, batches: ShuffledBatches) -> None:
        self._batches = batches

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches.go_to(trainer.global_step)


class StopWhenNoBetter(EarlyStopping):
    """Lightning's early stopping, which stays stopped when a run that it ended is resumed."""

    def __init__(self, *, epochs: int) -> None:
        """Stop after this many epochs without a better validation -ELBO."""
        # Decided after the validation: what ends the epoch then knows that it is the last.
        super().__init__(
            "validation_negative_elbo", mode="min", patience=epochs, check_on_train_epoch_end=False
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class RunCheckpoint(Checkpoint):
    """`checkpoints/last.ckpt` and `model.pt`: at the end of each epoch, every so many minutes, on request.

    Lightning calls callbacks of this base class after all others, so what is saved is complete.
    """

    def __init__(self, directory: RunDirectory, *, minutes: float) -> None:
        """`minutes` between checkpoints within an epoch, by the monotonic clock."""
        self._directory = directory
        self._interval_s = 60.0 * minutes
        self._saved_at = monotonic()
        self.stop_requested = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 >= trainer.num_training_batches:
            return  # The end of the epoch saves in a moment, after validation.
        if self.stop_requested:
            self._stop(trainer)
        if monotonic() - self._saved_at >= self._interval_s:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        save_model(self._directory, weights_to_keep(trainer), epochs=trainer.current_epoch + 1)
        if self.stop_requested:
            self._stop(trainer)

    def _save(self, trainer: Trainer) -> None:
        if not all(torch.isfinite(p).all() for p in trainer.lightning_module.parameters()):
            raise NonFiniteTraining(
                f"step {trainer.global_step}: expected finite weights, got NaN or infinity. The last "
                "checkpoint is kept. Start a new run with a lower optimiser.learning_rate or "
                "optimiser.gradient_clip_norm."
            )
        trainer.save_checkpoint(self._directory.checkpoint)
        self._saved_at = monotonic()

    def _stop(self, trainer: Trainer) -> None:
        self._save(trainer)
        raise TrainingInterrupted(
            f"{self._directory.root}: stopped at step {trainer.global_step} and saved. Go on with "
            "the same command and --resume."
        )


class DurableCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, written by temporary file, fsync and rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the whole state, or leave the old file."""
        write_tensors(path, checkpoint)


@contextmanager
def stopping_on_signals(checkpoint: RunCheckpoint, notice: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run after the current step, with its state saved.

    A second one ends it at once, at the cost of what came after the last checkpoint. Outside the
    main thread, where Python allows no handlers, signals are left as they are.
    """

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # Python's signature
        if checkpoint.stop_requested:
            raise TrainingInterrupted(
                "stopped at once; what came after the last checkpoint is lost. Go on with the same "
                "command and --resume."
            )
        checkpoint.stop_requested = True
        notice("stopping after this step; press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
