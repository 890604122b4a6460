"""One command from nothing to a model whose recipe begins with that of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from model_store import ModelStore
from training import cli
from training.commands.recipe_parts import from_nothing, parts_of
from training.config.reading import load_recipe, recipe_names
from training.errors import ConfigError
from training.publishing.export import export_run
from training.runs.run_directory import RunDirectory, load_run

COMMON = """
[data]
validation_size = 50
[model]
latent_size = 2
trunk = {{ type = "mlp", encoder_hidden = [8], decoder_hidden = [8] }}
{prior}
[optimiser]
warmup_steps = 2
[trainer]
epochs = {epochs}
batch_size = 64
precision = "float32"
{start}
[evaluation]
importance_samples = 2
importance_images = 5
"""
PRIOR = """[model.prior]
name = "learned"
couplings = 1
hidden_width = 4
components = 1
"""


def recipe(folder: Path, name: str, *, epochs: int = 1, start: str = "", prior: str = "") -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\n{COMMON.format(epochs=epochs, start=start, prior=prior)}')
    return str(path)


@pytest.fixture
def last(tmp_path) -> str:
    """Three recipes: `first`, `second` from it, and `third` with a learned prior from that."""
    first = recipe(tmp_path, "first", epochs=2)
    second = recipe(tmp_path, "second", start=f"start_from = 'made@1'\nstart_recipe = '{first}'")
    return recipe(tmp_path, "third", start=f"start_from = 'made@2'\nstart_recipe = '{second}'", prior=PRIOR)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_run(run).model.state_dict()


def assert_equal(one: Path, other: Path) -> None:
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture
def fit(mnist_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)
    store = tmp_path / "store"

    def run(*arguments: str) -> int:
        return cli.main(["fit", "--data", str(mnist_folder), "--store", str(store), *arguments])

    return run


def test_the_chain_ends_with_the_weights_of_its_steps_by_hand(fit, last, tmp_path, capsys):
    assert fit("--recipe", last, "--from-nothing", "--out", str(tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert said.index("first by recipe first") < said.index("first by recipe second")
    store, before = ModelStore(tmp_path / "store"), []
    for name, start in (("first", []), ("second", ["made@1"]), ("third", ["made@2"])):
        out = tmp_path / f"by-hand-{name}"
        options = [option for version in start for option in ("--start-from", version)]
        assert fit("--recipe", str(tmp_path / f"{name}.toml"), *options, "--out", str(out)) == 0
        export_run(
            out, name="made", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
        )
        before.append(out)
    run = tmp_path / "run"
    for part, by_hand in zip((run / "start" / "start", run / "start", run), before, strict=True):
        assert_equal(part, by_hand)
    card = export_run(
        run, name="made", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
    )
    text = (store.root / "made" / str(card.version) / "MODEL_CARD.md").read_text()
    assert "by which the run trained first" in text
    assert "--from-nothing --data DIR" in text


def empty(run: Path) -> None:
    """Remove a part, but not those before it."""
    for path in run.iterdir():
        if path.name != "start":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("stage", ["start/start", "start", "."])
def test_a_chain_that_stopped_goes_on_where_it_was(stage, fit, last, tmp_path, capsys):
    """It stopped before the figures of one of its parts: nothing is trained twice."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    arguments = ["--recipe", last, "--from-nothing", "--out", str(run)]
    assert fit(*arguments[:-1], str(whole)) == 0
    shutil.copytree(whole, run)
    for later in {"start/start": (run, run / "start"), "start": (run,)}.get(stage, ()):
        empty(later)
    (run / stage / "evaluation.json").unlink()
    log = (run / stage / "log.csv").read_bytes()
    assert fit(*arguments) == 73, "without --resume, a directory in use is refused"
    assert "Continue" in capsys.readouterr().err
    assert fit(*arguments, "--resume=auto") == 0
    assert (run / stage / "log.csv").read_bytes() == log
    assert_equal(run, whole)


def test_parts_are_no_longer_needed_once_the_next_has_a_checkpoint(fit, last, tmp_path):
    run = tmp_path / "run"
    assert fit("--recipe", last, "--from-nothing", "--out", str(run)) == 0
    shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(run / "start")
    assert fit("--resume", "--out", str(run)) == 0
    assert not (run / "start").exists()
    assert_equal(run, tmp_path / "copy")


def test_without_the_option_a_recipe_starts_from_its_version(last):
    config = load_recipe(last)
    assert (config.trainer.start_from, config.first_part) == ("made@2", "")
    assert len(parts_of(config, RunDirectory(Path("nowhere")))) == 1


def test_seed_is_that_of_every_part(last, tmp_path):
    config = from_nothing(last, ["trainer.seed=5"])
    parts = parts_of(config, RunDirectory(tmp_path / "run"))
    assert [part.config.name for part in parts] == ["first", "second", "third"]
    assert {part.config.trainer.seed for part in parts} == {5}


def test_a_recipe_that_begins_with_none_or_with_itself_is_refused(tmp_path):
    alone = recipe(tmp_path, "alone")
    with pytest.raises(ConfigError, match=r"expected a recipe with trainer\.start_recipe, got alone"):
        from_nothing(alone, [])
    itself = recipe(tmp_path, "itself", start=f"start_recipe = '{tmp_path / 'itself.toml'}'")
    with pytest.raises(ConfigError, match="seems to begin with itself"):
        parts_of(load_recipe(itself), RunDirectory(tmp_path / "run"))
    with pytest.raises(ConfigError, match="expected no --start-from with it"):
        from_nothing(alone, [], start_from="made@1")


def test_every_bundled_recipe_that_starts_from_a_version_names_the_recipe_of_it():
    """No step of a published version may be missing from the recipes."""
    for name in recipe_names():
        config = load_recipe(name)
        if config.trainer.start_from:
            parts = parts_of(from_nothing(name, []), RunDirectory(Path("nowhere")))
            assert not parts[0].config.trainer.start_from
            assert parts[0].config.data.validation_size == config.data.validation_size
