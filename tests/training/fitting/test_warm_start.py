"""A run that begins with the weights of a published version."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from finished_runs import make_finished_run, seeded_model

from model_store import ModelStore
from training import cli
from training.config.recipe import RunConfig
from training.errors import ConfigError
from training.fitting.console import Console
from training.fitting.data_checks import objections
from training.fitting.fit import fit
from training.fitting.warm_start import StartingWeights
from training.models import Gaussian, build_model
from training.publishing.export import export_run
from training.runs.run_directory import load_run

SILENT = Console(say=lambda line: None)
SHAPE = (1, 28, 28)
RESIDUAL = {
    "trunk": {
        "type": "residual",
        "encoder_channels": [4, 6],
        "encoder_blocks": [1, 0],
        "decoder_channels": [4, 6],
        "decoder_blocks": 1,
    }
}
LEARNED: dict[str, Any] = {
    "model": {"likelihood": {"name": "gaussian", "sigma": 0.3, "learned": True}},
    "data": {"binarisation": "grey"},
}


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.fixture
def publish(tmp_path, tiny, digits, store):
    """Version 1 of `start`, with seeded weights; returns its configuration."""

    def make(**sections) -> RunConfig:
        config = tiny(**sections)
        run = make_finished_run(tmp_path / "published", config, digits)
        export_run(
            run, name="start", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
        )
        return config

    return make


@pytest.mark.parametrize("sections", [{}, {"model": RESIDUAL}, {"model": {"kind": "ae"}}])
def test_the_weights_of_a_version_are_those_of_the_model_that_was_published(publish, store, sections):
    config = publish(**sections)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        model = build_model(config.model, SHAPE)
    StartingWeights.read("start@1", store).load_into(model)
    wanted = seeded_model(config.model).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_a_learned_sigma_goes_on_from_the_version_s(publish, store, tiny):
    publish(**LEARNED)
    wider = {"likelihood": {**LEARNED["model"]["likelihood"], "sigma": 0.9}}
    begun = build_model(tiny(model=wider, data=LEARNED["data"]).model, SHAPE)
    StartingWeights.read("start@1", store).load_into(begun)
    assert isinstance(begun.likelihood, Gaussian)
    assert begun.likelihood.sigma.item() == pytest.approx(0.3, rel=1e-5)


def test_training_begins_with_them_and_the_run_says_so(publish, store, tiny, digits, tmp_path):
    """With learning rates of almost nothing, what comes out is what went in."""
    publish()
    config = tiny(
        trainer={"start_from": "start@1", "epochs": 1, "ema_decay": 0.0},
        optimiser={"learning_rate": 1e-12, "weight_decay": 0.0},
    )
    run = fit(config, digits, tmp_path / "run", console=SILENT, store=store)
    for name, tensor in seeded_model(config.model).state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], tensor, atol=1e-6, rtol=0)
    assert load_run(tmp_path / "run").config.trainer.start_from == "start@1"


@pytest.fixture
def mine(tmp_path, tiny):
    """A recipe file with the networks of `tiny`."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\n[model]\nlatent_size = 4\n'
        f'[model.trunk]\ntype = "mlp"\nencoder_hidden = {list(tiny().model.trunk.encoder_hidden)}\n'
        f"decoder_hidden = {list(tiny().model.trunk.decoder_hidden)}\n"
        "[data]\nvalidation_size = 100\n[trainer]\nepochs = 1\n"
        "[evaluation]\nimportance_samples = 2\nimportance_images = 9\n"
    )
    return recipe


def test_the_command_takes_an_alias_and_keeps_the_number(
    publish, store, mnist_folder, mine, tmp_path, capsys
):
    publish()
    store.promote("start", "best", 1)
    arguments = ["fit", "--recipe", str(mine), "--data", str(mnist_folder), "--out", str(tmp_path / "run")]
    assert cli.main([*arguments, "--start-from", "start@best", "--store", str(store.root)]) == 0
    assert "start     the weights of start@1" in capsys.readouterr().out
    assert json.loads((tmp_path / "run/config.json").read_text())["trainer"]["start_from"] == "start@1"


def test_a_version_with_other_layers_is_refused_by_their_names_before_anything_is_written(
    publish, store, tiny, digits, tmp_path
):
    publish()
    other = tiny(model={"latent_size": 5}, trainer={"start_from": "start@1"})
    with pytest.raises(ConfigError) as refused:
        fit(other, digits, tmp_path / "run", console=SILENT, store=store)
    assert "trainer.start_from: expected a version with the recipe's layers" in str(refused.value)
    assert "decoder.0.0.weight is" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_version_of_another_kind_of_network_is_refused(publish, store, tiny):
    publish()
    with pytest.raises(ConfigError, match=r"nothing in the recipe and 32 in it.*and \d+ more"):
        StartingWeights.read("start@1", store).load_into(build_model(tiny(model=RESIDUAL).model, SHAPE))


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"model": {"logvar_min": -3.0}}, r"model.logvar_max, \(-3.0, 2.0\), got start@1 with \(-8.0, 2.0\)"),
        (LEARNED, "model.likelihood, gaussian, got start@1 with bernoulli"),
    ],
)
def test_weights_that_would_mean_something_else_are_refused(publish, store, tiny, section, told):
    publish()
    with pytest.raises(ConfigError, match=told):
        StartingWeights.read("start@1", store).load_into(build_model(tiny(**section).model, SHAPE))


def test_a_learned_sigma_at_its_floor_begins_where_it_can_still_move(publish, store, tiny):
    at_the_floor = {"likelihood": {**LEARNED["model"]["likelihood"], "sigma": 0.010001}}
    config = publish(model=at_the_floor, data=LEARNED["data"])
    begun = build_model(config.model, SHAPE)
    StartingWeights.read("start@1", store).load_into(begun)
    assert isinstance(begun.likelihood, Gaussian)
    assert begun.likelihood.sigma.item() == pytest.approx(0.012, rel=1e-4)


def test_a_warm_up_that_undoes_the_start_is_told(tiny, digits):
    config = tiny(trainer={"start_from": "start@1"}, objective={"beta_warmup_epochs": 2.0})
    assert any("undoes them. Set it to 0." in line for line in objections(config, digits.train))
    assert objections(tiny(trainer={"start_from": "start@1"}), digits.train) == []


def test_a_missing_version_is_told_and_nothing_started(store, mnist_folder, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["fit", "--recipe", "quick", "--data", str(mnist_folder), "--out", str(out)]
    assert cli.main([*arguments, "--start-from", "nobody@7", "--store", str(store.root)]) == 1
    assert "nobody" in capsys.readouterr().err
    assert not out.exists()


def test_the_same_command_resumes_though_the_alias_or_the_version_is_gone(
    publish, store, mnist_folder, mine, tmp_path
):
    publish()
    store.promote("start", "best", 1)
    arguments = ["fit", "--recipe", str(mine), "--data", str(mnist_folder), "--out", str(tmp_path / "run")]
    arguments += ["--start-from", "start@best", "--store"]
    assert cli.main([*arguments, str(store.root)]) == 0
    assert cli.main([*arguments, str(tmp_path / "empty"), "--resume"]) == 0


def test_a_run_that_is_to_go_on_from_another_version_is_refused(
    publish, store, mnist_folder, mine, tmp_path, capsys
):
    publish()
    arguments = ["fit", "--recipe", str(mine), "--data", str(mnist_folder), "--out", str(tmp_path / "run")]
    arguments += ["--store", str(store.root)]
    assert cli.main([*arguments, "--start-from", "start"]) == 0
    assert cli.main([*arguments, "--resume", "--set", "trainer.start_from='start@2'"]) == 73
    told = capsys.readouterr().err
    assert "expected the configuration of the run's start, but trainer.start_from" in told
    assert "start a new run in another --out" in told


def test_start_from_with_a_bare_resume_is_refused(tmp_path, capsys):
    assert cli.main(["fit", "--resume", "--out", str(tmp_path), "--start-from", "mnist@3"]) == 2
    assert "--start-from" in capsys.readouterr().err
