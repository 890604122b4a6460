"""Callbacks around the steps of a run: the epoch log, checkpoints, snapshots, warnings, stopping.

Knows Lightning's hooks and the run directory. Knows nothing of objectives.
"""

# ruff: noqa: ARG002 # Lightning determines the arguments of its hooks

from __future__ import annotations

import csv
import io
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO

from training.compute.processes import from_first_process, summed_over_processes
from training.errors import NonFiniteTraining, TrainingInterrupted
from training.fitting.batches import ShuffledBatches
from training.fitting.divergence import check_validation
from training.fitting.ema import weights_to_keep
from training.fitting.keeping import keep_weights
from training.fitting.lightning_module import FittingModule
from training.runs.run_directory import RunDirectory, write_tensors, write_text

Row = dict[str, float | int]
_SUMMED = ("reconstruction_nll", "kl")


class EpochLog(Callback):
    """`log.csv`: one line per epoch, each figure the mean over the epoch's images, in nats per image.

    The checkpoint contains the lines and the running sums, and the file is written from them, so a resumed
    run's log has neither gaps nor repetitions. All processes have the same lines; the first writes.
    """

    def __init__(self, directory: RunDirectory, *, every_steps: int, announce: Callable[[Row], None]) -> None:
        """`announce` receives each line; TensorBoard receives the figures of a step `every_steps`."""
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
        """Add the figures of the step, and write them to TensorBoard at its interval."""
        _add(self._train, outputs)
        if pl_module.logger is not None and trainer.global_step % self._every_steps == 0:
            figures = {f"step/{name}": float(outputs[name]) for name in ("loss", *_SUMMED)}
            pl_module.logger.log_metrics(figures, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the sums of the last validation."""
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
        """Add the figures of the batch."""
        _add(self._validation, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the measurements of all processes."""
        of_this_process = torch.tensor(list(self._validation.values()), dtype=torch.float64)
        of_all = summed_over_processes(of_this_process.to(pl_module.device)).tolist()
        self._validation = dict(zip(self._validation, of_all, strict=True))
        reconstruction_nll, kl = _means(self._validation)
        check_validation(reconstruction_nll, kl, epoch=trainer.current_epoch + 1)
        pl_module.log("validation_negative_elbo", reconstruction_nll + kl)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a line for the epoch, write the file and announce the line."""
        assert isinstance(pl_module, FittingModule)
        row: Row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        for part, sums in (("train", self._train), ("validation", self._validation)):
            reconstruction_nll, kl = _means(sums)
            row[f"{part}_negative_elbo"] = reconstruction_nll + kl
            row[f"{part}_reconstruction_nll"] = reconstruction_nll
            row[f"{part}_kl"] = kl
        # The figures of the epoch's last step.
        row["beta"] = pl_module.beta(trainer.global_step - 1)
        row["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        self._rows.append(row)
        self._train = _no_sums()
        if not trainer.is_global_zero:
            return
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
        """The lines so far and the sums of the current epoch, for a checkpoint."""
        return {"rows": list(self._rows), "train": dict(self._train)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the lines and sums of a checkpoint."""
        self._rows = list(state_dict["rows"])
        self._train = dict(state_dict["train"])


def _no_sums() -> dict[str, float]:
    return dict.fromkeys(("images", *_SUMMED), 0.0)


def _add(sums: dict[str, float], outputs: Any) -> None:
    sums["images"] += outputs["images"]
    for name in _SUMMED:
        sums[name] += outputs["images"] * float(outputs[name])


def _means(sums: dict[str, float]) -> tuple[float, float]:
    """Reconstruction cost and KL per image."""
    reconstruction_nll, kl = (sums[name] / max(1.0, sums["images"]) for name in _SUMMED)
    return reconstruction_nll, kl


class PositionOfBatches(Callback):
    """Sets the position of the batches to the optimiser's step.

    Lightning restores a loader's own state only from checkpoints within an epoch, not from those at its end;
    the step is right in both.
    """

    def __init__(self, batches: ShuffledBatches) -> None:
        self._batches = batches

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the batches to the step of the optimiser."""
        self._batches.go_to(trainer.global_step)


class StopWhenNoBetter(EarlyStopping):
    """Lightning's early stopping, which keeps a resumed run stopped if it had ended that run."""

    def __init__(self, *, epochs: int) -> None:
        """Stop after this many epochs without a better validation -ELBO."""
        # Decided after the validation, so that the end of the epoch already knows whether it is the last.
        super().__init__(
            "validation_negative_elbo", mode="min", patience=epochs, check_on_train_epoch_end=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count, with the patience of this run and not that of the checkpoint."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if the checkpoint's run was out of patience."""
        trainer.should_stop = self.wait_count >= self.patience


class RunCheckpoint(Checkpoint):
    """`checkpoints/last.ckpt` and `model.pt`: at the end of each epoch, at intervals of minutes, on request.

    Lightning calls callbacks of this base class after all others, so the saved state is complete. A request
    to one process, or a due checkpoint of one, acts in all processes after the same step. The first process
    writes.
    """

    def __init__(self, directory: RunDirectory, epoch_log: EpochLog, *, minutes: float) -> None:
        """`minutes` between checkpoints within an epoch, by the monotonic clock."""
        self._directory = directory
        self._epoch_log = epoch_log
        self._interval_s = 60.0 * minutes
        self._saved_at = monotonic()
        self.stop_requested = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a checkpoint is due, and stop if a process was asked to."""
        if batch_idx + 1 >= trainer.num_training_batches:
            return  # The end of the epoch saves soon, after validation.
        stop, due = self._wanted(trainer, due=monotonic() - self._saved_at >= self._interval_s)
        if stop:
            self._stop(trainer)
        if due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the weights and the state, and stop if a process was asked to."""
        self._check_finite(trainer)
        if trainer.is_global_zero:
            keep_weights(
                self._directory,
                weights_to_keep(trainer),
                self._epoch_log.rows[-1],
                epochs_without_better=_epochs_without_better(trainer),
            )
        self._save(trainer)
        stop, _ = self._wanted(trainer, due=False)
        if stop:
            self._stop(trainer)

    def _wanted(self, trainer: Trainer, *, due: bool) -> tuple[bool, bool]:
        """Whether any process was asked to stop, and whether a checkpoint is due in any."""
        wanted = torch.tensor([self.stop_requested, due], dtype=torch.float32)
        stop, due_somewhere = (summed_over_processes(wanted.to(trainer.strategy.root_device)) > 0).tolist()
        return stop, due_somewhere

    def _save(self, trainer: Trainer) -> None:
        self._check_finite(trainer)
        trainer.save_checkpoint(self._directory.checkpoint)
        self._saved_at = monotonic()

    def _check_finite(self, trainer: Trainer) -> None:
        if not all(torch.isfinite(p).all() for p in trainer.lightning_module.parameters()):
            raise NonFiniteTraining(
                f"step {trainer.global_step}: expected finite weights, got NaN or infinity. The last "
                "checkpoint is kept. Start a new run with a lower optimiser.learning_rate or "
                "optimiser.gradient_clip_norm."
            )

    def _stop(self, trainer: Trainer) -> None:
        self._save(trainer)
        raise TrainingInterrupted(
            f"{self._directory.root}: stopped at step {trainer.global_step} and saved. Continue with the "
            "same command and --resume."
        )


def _epochs_without_better(trainer: Trainer) -> int | None:
    """Epochs since the lowest validation -ELBO; None without early stopping."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it on every trainer
        if isinstance(callback, StopWhenNoBetter):
            return callback.wait_count
    return None


class DurableCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, written by temporary file, fsync and rename.

    Only the first process reads the file, so the others need no access to its disk.
    """

    def load_checkpoint(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The whole state, in every process."""
        read = super().load_checkpoint
        return from_first_process(lambda: read(*arguments, **options))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the whole state, or keep the old file."""
        write_tensors(path, checkpoint)


class StopOnSignals(Callback):
    """Ctrl-C and SIGTERM end the run after the current step, with its state saved.

    Use it as a context. A second signal ends the run at once, and loses all steps after the last checkpoint.
    Outside the main thread, where Python allows no handlers, signals keep their effect.
    """

    def __init__(self, checkpoint: RunCheckpoint, notice: Callable[[str], None]) -> None:
        """`notice` is called at the first signal."""
        self._checkpoint = checkpoint
        self._notice = notice
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the handlers again, in front of Lightning's."""
        # Lightning has installed its own handler before ours. It talks to the other processes at any moment,
        # and ends a validation without saving.
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._checkpoint.stop_requested:
            raise TrainingInterrupted(
                "stopped at once; the steps after the last checkpoint are lost. Continue with the same "
                "command and --resume."
            )
        self._checkpoint.stop_requested = True
        self._notice("stopping after this step; press Ctrl-C again to stop at once")
