"""A run that diverges says so within the epoch, with what to change, and is not called worth publishing."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import math

import pytest
import torch

from training.errors import NonFiniteTraining
from training.fitting.fit import fit
from training.fitting.lightning_module import FittingModule
from training.objectives.exploding_codes import divergence, most_kl_nats
from training.runs.run_directory import load_run


def test_codes_that_run_away_are_told_within_the_epoch_and_once(
    tiny, digits, tmp_path, console, heard, no_pictures, monkeypatch
):
    """From step 5 on; `tests/training/test_cli.py` lets a run diverge by itself."""
    original = FittingModule.training_step

    def running_away(self, images, batch_index):
        outputs = original(self, images, batch_index)
        return {**outputs, "kl": outputs["kl"] + 1e6} if self.trainer.global_step >= 5 else outputs

    monkeypatch.setattr(FittingModule, "training_step", running_away)
    fit(tiny(trainer={"batch_size": 16}), digits, tmp_path / "run", console=console)  # 36 steps an epoch
    alarms = [line for line in heard if "the codes diverge" in line]
    assert len(alarms) == 1
    assert heard[0] == alarms[0], "before the line of the first epoch"
    assert alarms[0].startswith("warning: step 15: ")
    assert "\n" not in alarms[0]
    assert "Raise objective.beta" in alarms[0]


def test_a_bound_on_the_codes_is_that_of_writing_the_pixels_down():
    assert most_kl_nats((1, 28, 28)) == pytest.approx(784 * 8 * math.log(2.0))
    assert divergence(4000.0, (1, 28, 28)) == ""
    assert "KL 4,400 nats per image, more than the 4,347" in divergence(4400.0, (1, 28, 28))


def test_a_sound_run_raises_no_alarm(tiny, digits, tmp_path, console, heard, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    assert not [line for line in heard if "codes diverge" in line]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("patience", [0, 3])
def test_a_validation_that_is_not_finite_ends_the_run_and_its_weights_are_not_kept(
    bad, patience, tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    """Lightning's early stopping would have ended it in silence, with the weights of that epoch."""
    original = FittingModule.validation_step

    def poisoned(self, images, batch_index):
        outputs = original(self, images, batch_index)
        return {**outputs, "kl": torch.tensor(bad)} if self.trainer.current_epoch == 1 else outputs

    monkeypatch.setattr(FittingModule, "validation_step", poisoned)
    config = tiny(trainer={"epochs": 4, "early_stopping_epochs": patience})
    with pytest.raises(NonFiniteTraining, match=r"epoch 2: expected finite costs .* Raise objective\.beta"):
        fit(config, digits, tmp_path / "run", console=console)
    assert load_run(tmp_path / "run").epochs == 1
