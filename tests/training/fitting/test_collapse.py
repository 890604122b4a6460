"""Latents that say nothing are told, and a run is ended, begun anew or left as it is."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_store import ModelStore
from training.config.recipe import RunConfig
from training.data import ImageData, ImageSet
from training.errors import ExportError, PosteriorCollapse, RunDirectoryError
from training.evaluation.figures import evaluate, write_evaluation
from training.fitting.collapse import remedy_for
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.lightning_module import FittingModule
from training.publishing.export import export_run
from training.runs.restart import Restart
from training.runs.run_directory import RunDirectory, load_run

Tiny = Callable[..., RunConfig]
#: Steps so long that the logits leave at once, and the decoder gives one picture back.
FAR_TOO_FAST: dict[str, Any] = {"learning_rate": 0.3, "warmup_steps": 0}


@pytest.fixture
def blobs() -> ImageData:
    """A soft blob on black, somewhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    top, left = rng.uniform(1, 7, (2, 400, 1, 1, 1))
    levels = 255 * np.exp(-((y - top) ** 2 + (x - left) ** 2) / 4)
    images = torch.from_numpy(levels.astype(np.uint8))
    return ImageData("blobs", ImageSet("blobs train", images[:350]), ImageSet("blobs test", images[350:]))


@pytest.fixture
def heavy(tiny: Tiny) -> Callable[..., RunConfig]:
    """A KL term of such weight that latents are given up, in a run long enough to be judged."""

    def make(**sections: dict[str, Any]) -> RunConfig:
        sections = {"objective": {"beta": 500.0}, "optimiser": {"learning_rate": 0.02}, **sections}
        return tiny(**{**sections, "trainer": {"epochs": 12, **sections.get("trainer", {})}})

    return make


@pytest.mark.usefixtures("no_pictures")
def test_stop_keeps_the_state_of_the_epoch_and_can_be_gone_on_with(
    heavy: Tiny, digits: ImageData, tmp_path: Path, console: Console
) -> None:
    config = heavy()
    with pytest.raises(PosteriorCollapse, match="--resume restarts with a remedy") as ended:
        fit(config, digits, tmp_path / "run", console=console, on_collapse="stop")
    assert 1 <= ended.value.epochs < 12
    assert load_run(tmp_path / "run").epochs == ended.value.epochs
    assert fit(config, digits, tmp_path / "run", resume=True, console=console).epochs == 12


@pytest.mark.usefixtures("no_pictures")
def test_restart_begins_anew_once_with_the_remedy_and_records_it(
    heavy: Tiny, digits: ImageData, tmp_path: Path, console: Console, heard: list[str]
) -> None:
    config = heavy()
    run = fit(config, digits, tmp_path / "run", console=console, on_collapse="restart")
    assert run.epochs == 12
    assert run.config == remedy_for(config).config
    assert run.config.objective.beta == 1.0
    assert run.restart is not None
    assert run.restart.asked == config
    assert "objective.beta=1" in run.restart.changes
    assert run.config.objective.beta_warmup_epochs == 4.0
    told = [line for line in heard if line.startswith("the run is restarted after")]
    assert len(told) == 1
    assert "objective.beta=1" in told[0]
    first_epoch = (tmp_path / "run" / "log.csv").read_text().splitlines()[1]
    assert first_epoch.startswith("1,"), "the log is that of the second start"


@pytest.mark.usefixtures("no_pictures")
def test_a_run_begun_anew_is_resumed_by_the_command_that_started_it(
    heavy: Tiny, digits: ImageData, tmp_path: Path, console: Console
) -> None:
    config = heavy()
    fit(config, digits, tmp_path / "run", console=console, on_collapse="restart")
    again = fit(config, digits, tmp_path / "run", resume=True, console=console, on_collapse="restart")
    assert again.config == remedy_for(config).config
    longer = heavy(trainer={"epochs": 14})
    further = fit(longer, digits, tmp_path / "run", resume=True, console=console, on_collapse="restart")
    assert further.epochs == further.config.trainer.epochs == 14
    assert further.config.objective == again.config.objective, "the remedy holds"


@pytest.mark.usefixtures("no_pictures")
def test_a_second_collapse_ends_the_run_and_says_what_was_tried(
    heavy: Tiny, digits: ImageData, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    remedy = remedy_for(heavy())
    useless = remedy.config.model_copy(update={"objective": heavy().objective})
    monkeypatch.setattr("training.fitting.fit.remedy_for", lambda _: type(remedy)(useless, remedy.changes))
    with pytest.raises(PosteriorCollapse, match="The run was restarted after"):
        fit(heavy(), digits, tmp_path / "run", console=console, on_collapse="restart")
    with pytest.raises(PosteriorCollapse, match="The run was restarted after"):
        fit(heavy(), digits, tmp_path / "run", resume=True, console=console, on_collapse="restart")


@pytest.mark.usefixtures("no_pictures")
def test_an_autoencoder_that_gives_one_picture_back_is_told_and_stopped(
    tiny: Tiny, blobs: ImageData, tmp_path: Path, console: Console
) -> None:
    config = tiny(
        data={"binarisation": "grey"},
        model={"kind": "ae", "likelihood": {"name": "gaussian", "sigma": 0.1}},
        optimiser=FAR_TOO_FAST,
        trainer={"epochs": 12, "batch_size": 50},
    )
    with pytest.raises(PosteriorCollapse, match="the autoencoder has collapsed"):
        fit(config, blobs, tmp_path / "run", console=console, on_collapse="stop")
    figures = evaluate(load_run(tmp_path / "run").model, blobs.test)
    assert figures.collapsed
    assert figures.warnings[0].startswith("collapse: the error of reconstructions is")


@pytest.mark.usefixtures("no_pictures")
def test_a_posterior_that_was_used_and_lost_is_told_while_the_kl_term_still_warms_up(
    tiny: Tiny,
    digits: ImageData,
    tmp_path: Path,
    console: Console,
    heard: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the figures of the log: what was 180 nats and is 1, is not learning."""
    original = FittingModule.training_step

    def lost(self: FittingModule, images: torch.Tensor, batch_index: int) -> dict[str, torch.Tensor | int]:
        outputs = original(self, images, batch_index)
        return {**outputs, "kl": torch.tensor(180.0 if self.trainer.current_epoch == 0 else 0.0)}

    monkeypatch.setattr(FittingModule, "training_step", lost)
    config = tiny(objective={"beta": 500.0, "beta_warmup_epochs": 50.0}, trainer={"epochs": 12})
    with pytest.raises(PosteriorCollapse, match="posterior has collapsed"):
        fit(config, digits, tmp_path / "run", console=console, on_collapse="stop")


@pytest.mark.usefixtures("no_pictures")
def test_a_collapsed_run_is_exported_only_where_that_is_asked_for(
    heavy: Tiny, digits: ImageData, tmp_path: Path, console: Console
) -> None:
    run = fit(heavy(), digits, tmp_path / "run", console=console)
    figures = evaluate(run.model, digits.test, importance_samples=2, importance_images=5)
    assert figures.collapsed
    write_evaluation(tmp_path / "run", figures)
    store = ModelStore(tmp_path / "store")
    with pytest.raises(ExportError, match=r"collapsed one: posterior collapse.*--allow-collapsed"):
        export_run(tmp_path / "run", name="dead", store=store, cache_dir=tmp_path)
    assert not (tmp_path / "store" / "dead").exists()
    assert (
        export_run(
            tmp_path / "run", name="dead", store=store, cache_dir=tmp_path, allow_collapsed=True
        ).version
        == 1
    )


def test_the_remedy_of_an_autoencoder_is_shorter_steps(tiny: Tiny) -> None:
    remedy = remedy_for(tiny(model={"kind": "ae"}, optimiser={"learning_rate": 0.02}))
    assert remedy.changes == ("optimiser.learning_rate=0.005",)
    assert remedy.config.optimiser.learning_rate == 0.005


def test_a_directory_stays_locked_when_its_run_is_begun_anew(tiny: Tiny, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.make()
    directory.write_config(tiny())
    restart = Restart(epochs=1, because="a test", changes=(), asked=tiny())
    with directory.locked():
        directory.begin_anew(tiny(), restart)
        refused = pytest.raises(RunDirectoryError, match="expected no other process to train here")
        with refused, directory.locked():
            pass
    with directory.locked():
        assert directory.read_restart() == restart


def test_a_damaged_record_of_a_restart_is_refused_with_its_wrong_keys(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.restart.write_text('{"epochs": "one", "because": "a test", "changes": []}')
    with pytest.raises(RunDirectoryError, match=r"'epochs': .* integer.*; 'asked': Field required\. Use an"):
        directory.read_restart()
