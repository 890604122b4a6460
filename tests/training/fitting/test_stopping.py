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

from training.data import observe, split_train_validation, to_unit_interval
from training.errors import NonFiniteTraining, RunDirectoryError, TrainingInterrupted, WriteFailed
from training.evaluation.figures import weights_sha256
from training.fitting.callbacks import RunCheckpoint
from training.fitting.fit import fit
from training.fitting.lightning_module import FittingModule
from training.objectives.elbo import elbo_terms
from training.randomness.seeding import generator_for
from training.runs.run_directory import RunDirectory, load_run, write_tensors


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
    fit(tiny(objective={"beta": 500.0}, trainer={"epochs": 9}), digits, tmp_path / "run", console=console)
    alarms = [line for line in heard if line.startswith("warning: the posterior has collapsed")]
    assert len(alarms) == 1
    assert "Lower objective.beta" in alarms[0]


@pytest.mark.parametrize(
    "sections",
    [
        {"objective": {"beta": 500.0, "beta_warmup_epochs": 50.0}},  # still warming up
        {"model": {"kind": "ae"}},  # has no posterior
        {"trainer": {"epochs": 2}},  # has not learned yet
    ],
)
def test_no_alarm_where_a_small_kl_means_nothing(
    sections, tiny, digits, tmp_path, console, heard, no_pictures
):
    fit(tiny(**sections), digits, tmp_path / "run", console=console)
    assert not [line for line in heard if "posterior" in line]


#: Hardly moves, so that the first epochs stay the best and patience ends the run soon.
STANDS_STILL: dict[str, Any] = {
    "optimiser": {"learning_rate": 1e-9},
    "trainer": {"epochs": 30, "early_stopping_epochs": 2, "ema_decay": 0.0},
}


def test_early_stopping_ends_a_run_that_no_longer_improves(tiny, digits, tmp_path, console, no_pictures):
    config = tiny(**STANDS_STILL)
    run = fit(config, digits, tmp_path / "run", console=console)
    assert run.kept.last_epoch < 30
    resumed = fit(config, digits, tmp_path / "run", resume=True, console=console)
    assert resumed.kept == run.kept


def test_early_stopping_keeps_the_best_weights_and_says_how_good_the_last_ones_were(
    tiny, digits, tmp_path, console, heard, no_pictures, log_of
):
    """Too high a learning rate: the figure falls, and then rises for as long as the run is patient."""
    rising = {
        "optimiser": {"learning_rate": 0.03, "final_fraction": 1.0},
        "trainer": {"epochs": 99, "batch_size": 16, "early_stopping_epochs": 4, "ema_decay": 0.0},
        "data": {"validation_size": 550},
    }
    run = fit(tiny(**rising, model={"kind": "ae"}), digits, tmp_path / "run", console=console)
    figures = [float(row["validation_negative_elbo"]) for row in log_of(tmp_path / "run")]
    best = min(range(len(figures)), key=figures.__getitem__)
    assert len(figures) == best + 1 + 4
    assert run.epochs == run.kept.epoch == best + 1
    assert run.kept.last_epoch == len(figures)
    # What is kept is as good as the log says of its epoch, and the last are as bad.
    _, validation = split_train_validation(digits.train, validation_size=550, seed=0)
    for file, expected in (("model.pt", figures[best]), ("last.pt", figures[-1])):
        stored = torch.load(tmp_path / "run" / file, weights_only=True)
        run.model.load_state_dict(stored["state_dict"])
        x = observe(
            to_unit_interval(validation.whole()[:512]), "dynamic", generator_for(0, "binarisation", 0)
        )
        rest = observe(
            to_unit_interval(validation.whole()[512:]), "dynamic", generator_for(0, "binarisation", 1)
        )
        costs = torch.cat([elbo_terms(run.model, part).reconstruction_nll for part in (x, rest)])
        assert costs.mean().item() == pytest.approx(expected, rel=1e-3)
    assert figures[-1] > figures[best]
    assert (
        f"kept the weights of epoch {best + 1} (validation -ELBO {figures[best]:.2f}), the best; training "
        f"ended after epoch {len(figures)} ({figures[-1]:.2f})"
    ) in heard


def test_a_run_cut_off_at_its_best_epoch_keeps_that_epoch(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch, same_weights
):
    """The weights are there before the checkpoint that says so: no moment between the two loses the best."""
    config = tiny(**STANDS_STILL)
    whole = fit(config, digits, tmp_path / "whole", console=console)
    original = RunCheckpoint._save
    ends = 0

    class PowerCutError(Exception):
        pass

    def cut_off(self, trainer):
        nonlocal ends
        original(self, trainer)
        ends += 1
        if ends == whole.epochs:  # one checkpoint an epoch
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        with pytest.raises(PowerCutError):
            fit(config, digits, tmp_path / "run", console=console)
    resumed = fit(config, digits, tmp_path / "run", resume=True, console=console)
    assert resumed.kept == whole.kept
    assert not resumed.kept.are_the_last
    assert same_weights(tmp_path / "run", tmp_path / "whole")


def test_without_early_stopping_the_last_weights_are_kept(tiny, digits, tmp_path, console, no_pictures):
    run = fit(tiny(), digits, tmp_path / "run", console=console)
    assert run.kept is None
    assert run.epochs == 2
    assert sorted(path.name for path in (tmp_path / "run").glob("*.pt")) == ["model.pt"]


def test_the_last_pictures_of_a_run_that_stopped_early_show_the_weights_that_are_kept(
    tiny, digits, tmp_path, console, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        "training.fitting.snapshots.Pictures.draw", lambda self, model: drawn.append(weights_sha256(model))
    )
    trainer = {**STANDS_STILL["trainer"], "pictures_every_epochs": 20}
    run = fit(tiny(**{**STANDS_STILL, "trainer": trainer}), digits, tmp_path / "run", console=console)
    assert run.kept.last_epoch < 20
    assert len(drawn) == 2  # of the last epoch, as the run ends; and then of what is kept
    assert drawn[-1] == weights_sha256(run.model)


@pytest.mark.parametrize("text", ["", "[]", '{"epoch": 1}', "{"])
def test_damaged_facts_of_the_kept_weights_are_told(text, tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(**STANDS_STILL), digits, tmp_path / "run", console=console)
    (tmp_path / "run" / "kept.json").write_text(text)
    with pytest.raises(RunDirectoryError, match=r"kept\.json: expected the output of `vae-train fit`"):
        load_run(tmp_path / "run")


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
    monkeypatch.setattr("training.fitting.callbacks.monotonic", lambda: float(next(ticks)))
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
        patch.setattr("training.runs.run_directory.os.fsync", full)
        with pytest.raises(WriteFailed, match=r"last\.ckpt: .*No space left on device .*Free space"):
            write_tensors(directory.checkpoint, {"new": torch.zeros(3)})
    assert directory.checkpoint.read_bytes() == old
    assert [path.name for path in directory.checkpoint.parent.iterdir()] == ["last.ckpt"]
