"""Killed at any moment, a run goes on and ends with the bits it would have had anyway."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import PATIENCE_S
from small_recipes import small_recipe

from training.config.reading import load_recipe
from training.data import ImageData, load_mnist
from training.errors import DataError, RunDirectoryError
from training.fitting.callbacks import RunCheckpoint
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.lightning_module import FittingModule
from training.runs.run_directory import load_run

#: A checkpoint after every step, two epochs of warm-up for beta and for the running mean to matter.
OFTEN: dict[str, Any] = {
    "trainer": {"epochs": 4, "checkpoint_minutes": 1e-6, "early_stopping_epochs": 3},
    "objective": {"beta_warmup_epochs": 3.0},
    "data": {"grey_fraction": 0.5, "distorted_fraction": 0.5},
    "optimiser": {"name": "muon"},
}


class PowerCutError(Exception):
    """Stands for the process being gone: nothing after it runs."""


@pytest.fixture(scope="module")
def uninterrupted(tiny, digits, tmp_path_factory) -> Path:
    """The run that every interrupted one is compared with."""
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)
        fit(tiny(**OFTEN), digits, directory, console=Console(say=lambda text: None))
    return directory


# 9 steps an epoch: inside the first epoch, at and around its end, inside and at the end of later ones.
@pytest.mark.parametrize("saves", [1, 5, 8, 9, 10, 14, 18, 27, 31, 35])
def test_a_run_cut_off_after_any_checkpoint_ends_with_the_same_bits(
    saves, tiny, digits, tmp_path, console, no_pictures, monkeypatch, uninterrupted, same_weights, log_of
):
    """Optimiser, schedule, position, noise, running mean, log and early stopping all go on exactly."""
    original = RunCheckpoint._save
    count = 0

    def cut_off(self, trainer):
        nonlocal count
        original(self, trainer)
        count += 1
        if count == saves:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        with pytest.raises(PowerCutError):
            fit(tiny(**OFTEN), digits, tmp_path / "run", console=console)
    torch.manual_seed(saves)  # whatever the next process's generator holds
    fit(tiny(**OFTEN), digits, tmp_path / "run", resume=True, console=console)
    assert same_weights(tmp_path / "run", uninterrupted)
    assert log_of(tmp_path / "run") == log_of(uninterrupted)


@pytest.mark.parametrize("saves", [5, 11, 13, 20])
def test_epochs_of_more_than_one_pass_go_on_with_the_same_bits(
    saves, tiny, digits, tmp_path, console, no_pictures, monkeypatch, same_weights, log_of
):
    """13 steps an epoch where a pass has 9: cut off within both passes, at an epoch's end and after it."""
    config = tiny(
        trainer={"min_steps_per_epoch": 13, "checkpoint_minutes": 1e-6, "early_stopping_epochs": 3},
        objective={"beta_warmup_epochs": 1.5},
    )
    whole = fit(config, digits, tmp_path / "whole", console=console)
    assert [int(row["step"]) for row in log_of(tmp_path / "whole")] == [13, 26]
    assert whole.config.trainer.min_steps_per_epoch == 13
    original = RunCheckpoint._save
    count = 0

    def cut_off(self, trainer):
        nonlocal count
        original(self, trainer)
        count += 1
        if count == saves:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        with pytest.raises(PowerCutError):
            fit(config, digits, tmp_path / "run", console=console)
    fit(config, digits, tmp_path / "run", resume=True, console=console)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def test_the_comparison_can_fail(tiny, digits, tmp_path, console, no_pictures, uninterrupted, same_weights):
    """Its twin: a run that resumes with one number of its state wrong does not pass for the same."""
    fit(
        tiny(**{**OFTEN, "trainer": {**OFTEN["trainer"], "epochs": 3}}),
        digits,
        tmp_path / "run",
        console=console,
    )
    assert not same_weights(tmp_path / "run", uninterrupted)


def test_resuming_before_the_first_checkpoint_starts_from_the_beginning(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch, uninterrupted, same_weights
):
    def cut_off(self, trainer):
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        with pytest.raises(PowerCutError):
            fit(tiny(**OFTEN), digits, tmp_path / "run", console=console)
    fit(tiny(**OFTEN), digits, tmp_path / "run", resume=True, console=console)
    assert same_weights(tmp_path / "run", uninterrupted)


def test_resuming_a_finished_run_changes_nothing_and_says_how_to_train_it_longer(
    tiny, digits, tmp_path, console, no_pictures, same_weights, heard
):
    fit(tiny(), digits, tmp_path / "run", console=console)
    before = (tmp_path / "run" / "model.pt").read_bytes()
    said = len(heard)
    assert fit(tiny(), digits, tmp_path / "run", resume=True, console=console).epochs == 2
    assert (tmp_path / "run" / "model.pt").read_bytes() == before
    assert heard[said:] == [
        "note: the run has completed its 2 epochs. Extend it with --resume --set trainer.epochs=4"
    ]


def test_a_finished_run_trains_longer(tiny, digits, tmp_path, console, no_pictures, heard, log_of):
    fit(tiny(), digits, tmp_path / "run", console=console)
    said = len(heard)
    longer = tiny(trainer={"epochs": 5})
    run = fit(longer, digits, tmp_path / "run", resume=True, console=console)
    assert run.epochs == run.config.trainer.epochs == 5
    assert heard[said] == "note: trainer.epochs was 2 and is 5 now"
    assert heard[said + 1].startswith(
        "note: from step 18 on, the schedules are those of a run of 5 epochs: the learning rate, at 0 of its "
        "highest value, continues at 0.69"
    )
    rows = log_of(tmp_path / "run")
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert float(rows[-1]["validation_negative_elbo"]) < float(rows[1]["validation_negative_elbo"])
    # From there on the learning rates are those of a run that was planned so long.
    planned = fit(longer, digits, tmp_path / "planned", console=console)
    rates = [
        [row["learning_rate"] for row in log_of(each)[2:]]
        for each in (tmp_path / "run", tmp_path / "planned")
    ]
    assert rates[0] == rates[1]
    assert run.provenance.changes == ("after step 18: trainer.epochs was 2 and is 5 now",)
    assert planned.provenance.changes == ()
    # It goes on, and is cut off and resumed, as any other run.
    assert fit(longer, digits, tmp_path / "run", resume=True, console=console).provenance == run.provenance


def test_the_first_step_of_a_longer_training_is_not_wasted(
    tiny, digits, tmp_path, console, no_pictures, monkeypatch
):
    """The checkpoint of a finished run has a learning rate of 0."""
    fit(tiny(), digits, tmp_path / "run", console=console)
    rates = {}
    original = FittingModule.training_step

    def spy(self, images, batch_index):
        rates[self.trainer.global_step] = self.trainer.optimizers[0].param_groups[0]["lr"]
        return original(self, images, batch_index)

    monkeypatch.setattr(FittingModule, "training_step", spy)
    fit(tiny(trainer={"epochs": 3}), digits, tmp_path / "run", resume=True, console=console)
    assert min(rates) == 18
    fit(tiny(trainer={"epochs": 3}), digits, tmp_path / "planned", console=console)
    first, planned = rates[18], dict(rates)
    assert first == planned[18] > 0.0


def test_a_run_that_stopped_early_says_what_makes_it_go_on(
    tiny, digits, tmp_path, console, no_pictures, heard
):
    still = {"optimiser": {"learning_rate": 1e-9}}
    trainer = {"epochs": 30, "early_stopping_epochs": 2, "ema_decay": 0.0}
    run = fit(tiny(**still, trainer=trainer), digits, tmp_path / "run", console=console)
    ended = run.kept.last_epoch
    said = len(heard)
    fit(
        tiny(**still, trainer={**trainer, "epochs": 40}),
        digits,
        tmp_path / "run",
        resume=True,
        console=console,
    )
    assert any(
        "the run stopped early, after 2 epochs without an improvement" in line for line in heard[said:]
    )
    patient = {**trainer, "epochs": ended + 1, "early_stopping_epochs": 9}
    run = fit(tiny(**still, trainer=patient), digits, tmp_path / "run", resume=True, console=console)
    assert run.kept.last_epoch == ended + 1


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"trainer": {"seed": 9}}, "but trainer.seed was 0 and is 9 now. The weights and the state"),
        ({"model": {"latent_size": 5}}, "but model.latent_size was 4 and is 5 now. The weights"),
        (
            {"trainer": {"epochs": 1}},
            "expected trainer.epochs of at least 2, the number of epochs that the run has begun",
        ),
    ],
)
def test_what_a_run_that_goes_on_cannot_change_is_refused_with_the_reason(
    sections, told, tiny, digits, tmp_path, console, no_pictures
):
    fit(tiny(), digits, tmp_path / "run", console=console)
    files = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.json")}
    with pytest.raises(RunDirectoryError, match=re.escape(told)):
        fit(tiny(**sections), digits, tmp_path / "run", resume=True, console=console)
    assert files == {path: path.read_bytes() for path in (tmp_path / "run").glob("*.json")}


def test_words_that_change_no_run_do_not_keep_it_from_resuming(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    reworded = tiny().model_copy(update={"description": "the same, said better"})
    assert fit(reworded, digits, tmp_path / "run", resume=True, console=console).epochs == 2


def test_resuming_on_other_images_is_refused(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    train = digits.train.take(torch.arange(len(digits.train)).flip(0))
    with pytest.raises(DataError, match="expected the images of the run's start"):
        fit(
            tiny(), ImageData(digits.name, train, digits.test), tmp_path / "run", resume=True, console=console
        )


def test_resuming_with_other_validation_images_is_refused(tiny, digits, tmp_path, console, no_pictures):
    """They decide which weights are kept, and which figures of the log may be compared."""
    given = replace(digits, validation=digits.test.take(torch.arange(50)))
    fit(tiny(), given, tmp_path / "run", console=console)
    assert fit(tiny(), given, tmp_path / "run", resume=True, console=console).epochs == 2
    for others in (digits, replace(digits, validation=digits.test.take(torch.arange(51)))):
        with pytest.raises(DataError, match="expected the validation images of the run's start"):
            fit(tiny(), others, tmp_path / "run", resume=True, console=console)


def test_a_run_that_was_split_the_former_way_is_read_but_not_resumed(
    tiny, digits, tmp_path, console, no_pictures
):
    """It would go on with images that it had held back, and measure on some that it trained on."""
    fit(tiny(), digits, tmp_path / "run", console=console)
    file = tmp_path / "run" / "provenance.json"
    assert json.loads(file.read_text())["split"] == "content"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "split"}))
    assert load_run(tmp_path / "run").provenance.split == "permutation"
    with pytest.raises(
        RunDirectoryError, match="expected a run whose validation images were chosen by their"
    ):
        fit(tiny(), digits, tmp_path / "run", resume=True, console=console)


def test_resuming_where_nothing_was_started_is_refused(tiny, digits, tmp_path, console):
    with pytest.raises(RunDirectoryError, match=r"found no config\.json"):
        fit(tiny(), digits, tmp_path / "run", resume=True, console=console)


def test_resuming_with_another_number_of_threads_is_told(tiny, digits, tmp_path, console, no_pictures, heard):
    fit(tiny(), digits, tmp_path / "run", console=console)
    torch.set_num_threads(2)
    try:
        fit(tiny(), digits, tmp_path / "run", resume=True, console=console)
    finally:
        torch.set_num_threads(1)
    assert any(line.startswith("note: threads was 1 at the start of the run and is 2 now") for line in heard)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_told(damage, tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = file.read_bytes()
    file.write_bytes({"truncated": content[:-200], "flipped": b"PK" + content[9:], "empty": b""}[damage])
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt: expected a checkpoint .* unreadable file"):
        fit(tiny(), digits, tmp_path / "run", resume=True, console=console)


def test_what_a_killed_process_could_not_rename_is_cleared_away(tiny, digits, tmp_path, console, no_pictures):
    fit(tiny(), digits, tmp_path / "run", console=console)
    leftovers = [tmp_path / "run" / ".model.pt.part", tmp_path / "run" / "checkpoints" / ".last.ckpt.part"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    fit(tiny(), digits, tmp_path / "run", resume=True, console=console)
    assert not any(leftover.exists() for leftover in leftovers)


RECIPE = small_recipe(
    "killed",
    latent_size=4,
    hidden=32,
    data={"validation_size": 100, "grey_fraction": 0.3},
    objective={"beta_warmup_epochs": 3.0},
    trainer={
        "epochs": 6,
        "batch_size": 32,
        "checkpoint_minutes": 0.001,
        "pictures_every_epochs": 1000,
    },
)


def command(folder: Path, mnist_folder: Path, *more: str) -> list[str]:
    """`vae-train fit` in a process of its own, on one thread."""
    recipe = folder / "killed.toml"
    recipe.write_text(RECIPE)
    script = "import sys, torch; torch.set_num_threads(1); from training.cli import main; sys.exit(main())"
    fixed = ["--recipe", str(recipe), "--data", str(mnist_folder), "--out", str(folder / "run")]
    return [sys.executable, "-c", script, "fit", *fixed, *more]


def run_killing(folder: Path, mnist_folder: Path, *, kills: int, rng: random.Random) -> None:
    """Kill the process `kills` times, each at a random moment of its training, then let it end."""
    resume: tuple[str, ...] = ()
    for _ in range(kills):
        with subprocess.Popen(
            command(folder, mnist_folder, *resume),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("epoch") and rng.random() < 0.4:
                    break
            time.sleep(rng.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
        resume = ("--resume",)
    done = subprocess.run(
        command(folder, mnist_folder, *resume),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def one_way_and_the_other(tmp_path, mnist_folder, same_weights, log_of, *, seeds) -> None:
    recipe = tmp_path / "killed.toml"
    recipe.write_text(RECIPE)
    silent = Console(say=lambda text: None)
    fit(load_recipe(recipe), load_mnist(mnist_folder), tmp_path / "whole", console=silent)

    def kill(seed: int) -> None:
        folder = tmp_path / f"killed-{seed}"
        folder.mkdir()
        run_killing(folder, mnist_folder, kills=1, rng=random.Random(seed))

    # Two at a time: most of each is the start of its two processes, on one core.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(kill, seeds))
    for seed in seeds:
        killed = tmp_path / f"killed-{seed}"
        assert same_weights(killed / "run", tmp_path / "whole"), f"seed {seed}"
        assert log_of(killed / "run") == log_of(tmp_path / "whole"), f"seed {seed}"
        assert load_run(killed / "run").epochs == 6


def test_a_process_killed_at_a_random_moment_resumes_to_the_same_bits(
    tmp_path, mnist_folder, same_weights, log_of
):
    one_way_and_the_other(tmp_path, mnist_folder, same_weights, log_of, seeds=[random.randrange(10**6)])


@pytest.mark.hard
@pytest.mark.hazard_row("training-killed")
@pytest.mark.timeout(900)
def test_twenty_processes_killed_at_random_moments_resume_to_the_same_bits(
    tmp_path, mnist_folder, same_weights, log_of, hazard
):
    one_way_and_the_other(tmp_path, mnist_folder, same_weights, log_of, seeds=range(20))
    hazard(
        "training-killed", figure="20 of 20 runs bit-identical", bar="20 × kill -9: bit-identical", met=True
    )
