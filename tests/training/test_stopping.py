"""Every way a run ends before its time, and what is left of it."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
import torch
from patience import PATIENCE_S

from training.callbacks import RunCheckpoint
from training.errors import NonFiniteTraining, TrainingInterrupted
from training.fit import fit
from training.module import FittingModule
from training.run_directory import RunDirectory, load_run, write_tensors


def test_a_diverging_run_stops_and_keeps_its_last_checkpoint(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    original = FittingModule.training_step

    def poisoned(self, images, batch_index):
        outputs: Any = original(self, images, batch_index)
        if self.trainer.global_step == 12:  # in the second epoch: the gradient is not finite
            outputs["loss"] = outputs["loss"] * float("inf")
        return outputs

    monkeypatch.setattr(FittingModule, "training_step", poisoned)
    with pytest.raises(NonFiniteTraining, match="step 13, epoch 1: expected a finite loss, got nan"):
        fit(tiny(), digits, tmp_path / "run", console=console)
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 9
    assert all(torch.isfinite(tensor).all() for tensor in kept["state_dict"].values())
    assert load_run(tmp_path / "run").epochs == 1


def test_weights_that_are_not_finite_are_never_saved(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    original = FittingModule.training_step

    def poisoned(self, images, batch_index):
        outputs: Any = original(self, images, batch_index)
        if self.trainer.global_step == 17:  # the very last step: no later loss can notice
            outputs["loss"] = outputs["loss"] * float("inf")
        return outputs

    monkeypatch.setattr(FittingModule, "training_step", poisoned)
    monkeypatch.setattr(
        FittingModule,
        "validation_step",
        lambda self, images, index: {
            "images": 1,
            "reconstruction_nll": torch.tensor(1.0),
            "kl": torch.tensor(1.0),
        },
    )
    with pytest.raises(NonFiniteTraining, match="expected finite weights"):
        fit(tiny(), digits, tmp_path / "run", console=console)
    assert load_run(tmp_path / "run").epochs == 1


def test_a_collapsed_posterior_raises_an_alarm_once(tiny, digits, tmp_path, console, heard, no_pictures):
    fit(tiny(objective={"beta": 500.0}, trainer={"epochs": 4}), digits, tmp_path / "run", console=console)
    alarms = [line for line in heard if line.startswith("warning: the posterior has collapsed")]
    assert len(alarms) == 1
    assert "Lower objective.beta" in alarms[0]


@pytest.mark.parametrize(
    "sections",
    [
        {"objective": {"beta": 500.0, "beta_warmup_epochs": 50.0}},  # still warming up
        {"model": {"kind": "ae"}},  # has no posterior
    ],
)
def test_no_alarm_where_a_small_kl_means_nothing(
    sections, tiny, digits, tmp_path, console, heard, no_pictures
):
    fit(tiny(**sections), digits, tmp_path / "run", console=console)
    assert not [line for line in heard if "posterior" in line]


def test_early_stopping_ends_a_run_that_no_longer_improves(tiny, digits, tmp_path, console, no_pictures):
    config = tiny(
        optimiser={"learning_rate": 1e-9},
        trainer={"epochs": 30, "early_stopping_epochs": 2, "ema_decay": 0.0},
    )
    run = fit(config, digits, tmp_path / "run", console=console)
    assert run.epochs < 30
    resumed = fit(config, digits, tmp_path / "run", resume=True, console=console)
    assert resumed.epochs == run.epochs


def test_the_pictures_of_a_run_that_stopped_early_are_those_of_its_last_epoch(
    tiny, digits, tmp_path, console, heard, monkeypatch
):
    drawn = []

    def note(self, model):
        drawn.append(sum(line.startswith("epoch ") for line in heard))

    monkeypatch.setattr("training.pictures.Pictures.draw", note)
    config = tiny(
        optimiser={"learning_rate": 1e-9},
        trainer={
            "epochs": 30,
            "early_stopping_epochs": 2,
            "ema_decay": 0.0,
            "pictures_every_epochs": 20,
        },
    )
    run = fit(config, digits, tmp_path / "run", console=console)
    assert run.epochs < 20
    assert drawn == [run.epochs]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_with_everything_saved(
    number, tiny, digits, tmp_path, console, heard, no_pictures, monkeypatch, log_of, same_weights
):
    original = FittingModule.training_step

    def interrupted(self, images, batch_index):
        if self.trainer.global_step == 4:
            os.kill(os.getpid(), number)
        return original(self, images, batch_index)

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(FittingModule, "training_step", interrupted)
        with pytest.raises(TrainingInterrupted, match=r"stopped at step 5 and saved. .* --resume"):
            fit(tiny(), digits, tmp_path / "stopped", console=console)
    assert heard == ["stopping after this step; press Ctrl-C again to stop at once"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    fit(tiny(), digits, tmp_path / "stopped", resume=True, console=console)
    fit(tiny(), digits, tmp_path / "whole", console=console)
    assert same_weights(tmp_path / "stopped", tmp_path / "whole")
    assert log_of(tmp_path / "stopped") == log_of(tmp_path / "whole")


def test_a_second_ctrl_c_stops_at_once(tiny, digits, tmp_path, console, no_pictures, monkeypatch):
    original = FittingModule.training_step

    def interrupted(self, images, batch_index):
        if self.trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(PATIENCE_S)  # the second one ends the step itself
        return original(self, images, batch_index)

    monkeypatch.setattr(FittingModule, "training_step", interrupted)
    with pytest.raises(TrainingInterrupted, match="stopped at once"):
        fit(tiny(), digits, tmp_path / "run", console=console)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_a_run_outside_the_main_thread_needs_no_signals(tiny, digits, tmp_path, console, no_pictures):
    thread = threading.Thread(
        target=fit, args=(tiny(), digits, tmp_path / "run"), kwargs={"console": console}
    )
    thread.start()
    thread.join()
    assert load_run(tmp_path / "run").epochs == 2


def test_checkpoints_come_by_the_clock_within_an_epoch(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    """A fake clock that gains a minute per look, and three minutes between checkpoints."""
    saved = []
    original = RunCheckpoint._save

    def spy(self, trainer):
        saved.append(trainer.global_step)
        original(self, trainer)

    monkeypatch.setattr(RunCheckpoint, "_save", spy)
    ticks = iter(range(0, 100_000, 60))
    monkeypatch.setattr("training.callbacks.monotonic", lambda: float(next(ticks)))
    fit(tiny(trainer={"epochs": 1, "checkpoint_minutes": 3.0}), digits, tmp_path / "run", console=console)
    assert saved[-1] == 9
    assert len(saved) >= 3
    assert all(2 <= b - a <= 4 for a, b in zip([0, *saved[:-2]], saved[:-1], strict=True))


def test_a_full_disk_leaves_the_old_checkpoint_and_no_temporary_file(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    directory = RunDirectory(tmp_path / "run")
    fit(tiny(trainer={"epochs": 1}), digits, directory.root, console=console)
    old = directory.checkpoint.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("training.run_directory.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_tensors(directory.checkpoint, {"new": torch.zeros(3)})
    assert directory.checkpoint.read_bytes() == old
    assert [path.name for path in directory.checkpoint.parent.iterdir()] == ["last.ckpt"]
