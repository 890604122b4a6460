"""No knob is decoration: changing any key of a recipe changes the weights, the pace or what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel

from model_store import ModelStore
from training.commands.fit import _expected, _plan
from training.compute.processes import ALONE
from training.config.messages import _models
from training.config.reading import parse_config
from training.config.recipe import RunConfig
from training.data import load_images
from training.errors import ConfigError
from training.evaluation.figures import evaluate, weights_sha256, write_evaluation
from training.fitting.callbacks import RunCheckpoint
from training.fitting.console import Console
from training.fitting.ema import weights_to_keep
from training.fitting.fit import fit
from training.models import LearnedPrior, build_model
from training.publishing.export import export_run

MLP = {"trunk": {"type": "mlp", "encoder_hidden": [8], "decoder_hidden": [8]}}
RESIDUAL = {
    "trunk": {
        "type": "residual",
        "encoder_channels": [4],
        "encoder_blocks": 1,
        "decoder_channels": [4],
        "decoder_blocks": 1,
    }
}
GREY = {"data": {"binarisation": "grey"}}
STATED = {**GREY, "model": {**MLP, "likelihood": {"name": "gaussian", "sigma": 0.5}}}
LEARNED = {**GREY, "model": {**MLP, "likelihood": {"name": "gaussian", "sigma": 0.02, "learned": True}}}
BINARY: dict[str, Any] = {}
PRIOR: dict[str, dict[str, Any]] = {
    "model": {
        **MLP,
        "prior": {"name": "learned", "couplings": 2, "hidden_width": 8, "components": 2, "labels": 10},
    }
}

SILENT = Console(say=lambda line: None)
DISTORTED = {"data": {"distorted_fraction": 0.5}}

#: key → (what the base run is given besides, the other value). Every key of the schema is here.
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "data.validation_size": (BINARY, 90),
    "data.binarisation": (BINARY, "grey"),
    "data.grey_fraction": (BINARY, 0.5),
    "data.distorted_fraction": (BINARY, 0.5),
    "data.distortion": (DISTORTED, 0.3),
    "data.distorted_part": (DISTORTED, 0.25),
    "model.kind": (BINARY, "ae"),
    "model.latent_size": (BINARY, 3),
    "model.logvar_min": (BINARY, -4.0),
    "model.logvar_max": (BINARY, 1.0),
    "model.trunk.type": (BINARY, "residual"),
    "model.trunk.encoder_hidden": (BINARY, [9]),
    "model.trunk.decoder_hidden": (BINARY, [8, 8]),
    "model.trunk.encoder_channels": ({"model": RESIDUAL}, [4, 4]),
    "model.trunk.encoder_blocks": ({"model": RESIDUAL}, 0),
    "model.trunk.decoder_channels": ({"model": RESIDUAL}, [5]),
    "model.trunk.decoder_blocks": ({"model": RESIDUAL}, 2),
    "model.trunk.latents": ({"model": RESIDUAL}, "spatial"),
    "model.likelihood.name": (GREY, "gaussian"),
    "model.likelihood.sigma": (STATED, 0.3),
    "model.likelihood.sigma_min": (LEARNED, 0.002),
    "model.likelihood.learned": (STATED, True),
    "model.prior.name": (BINARY, "learned"),
    "model.prior.couplings": (PRIOR, 3),
    "model.prior.hidden_width": (PRIOR, 9),
    "model.prior.components": (PRIOR, 3),
    "model.prior.labels": (PRIOR, 0),
    "model.prior.label_weight": (PRIOR, 0.5),
    "objective.beta": (BINARY, 0.5),
    "objective.beta_warmup_epochs": (BINARY, 2.0),
    "objective.importance_samples": (BINARY, 2),
    "objective.importance_part": ({"objective": {"importance_samples": 2}}, 0.5),
    "optimiser.name": (BINARY, "muon"),
    "optimiser.learning_rate": (BINARY, 1e-3),
    "optimiser.muon_learning_rate": ({"optimiser": {"name": "muon"}}, 0.01),
    "optimiser.muon_weight_decay": ({"optimiser": {"name": "muon"}}, 0.5),
    "optimiser.warmup_steps": (BINARY, 5),
    "optimiser.final_fraction": (BINARY, 0.5),
    "optimiser.weight_decay": (BINARY, 0.5),
    "optimiser.beta2": (BINARY, 0.9),
    "optimiser.gradient_clip_norm": (BINARY, 0.01),
    "trainer.epochs": (BINARY, 3),
    "trainer.min_steps_per_epoch": (BINARY, 12),
    "trainer.batch_size": (BINARY, 50),
    "trainer.seed": (BINARY, 1),
    "trainer.start_from": (BINARY, "base@1"),
    "trainer.precision": (BINARY, "bfloat16"),
    "trainer.channels_last": ({"model": RESIDUAL}, False),
    "trainer.ema_decay": (BINARY, 0.0),
    "trainer.checkpoint_minutes": (BINARY, 1e-6),
    "trainer.pictures_every_epochs": (BINARY, 2),
    "trainer.early_stopping_epochs": (
        {"optimiser": {"learning_rate": 1e-12}, "trainer": {"epochs": 4}},
        1,
    ),
}
#: Keys of the final figures, and keys that are words for people.
EVALUATION = {"evaluation.importance_samples": 4, "evaluation.importance_images": 30, "evaluation.seed": 1}
#: Keys of the draws of a finished model.
DRAWS = {"model.prior.label_candidates": 1, "model.prior.label_probability": 0.2}
WORDS = {
    "name": "other",
    "description": "said otherwise",
    "expect": None,
    "expect.minutes": 9.0,
    "expect.negative_elbo": 9.0,
    "expect.reconstruction_nll": 9.0,
    "expect.measured_on": "elsewhere",
    "trainer.start_recipe": "quick",
}
#: Keys of how images are read, before there is a run.
READING = {"data.dataset": "given", "data.side": 12, "data.channels": 3, "data.ground": "white"}


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        if not inner or (not field.is_required() and field.default is None):
            yield f"{prefix}{name}"
        for section in inner:
            yield from keys_of(section, f"{prefix}{name}.")


def test_every_key_of_the_schema_is_tested_here():
    assert set(keys_of(RunConfig)) == {*CHANGES, *EVALUATION, *DRAWS, *WORDS, *READING}


def changed(raw: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    inner = raw.get(head, {})
    if head in ("trunk", "likelihood", "prior") and rest in ("type", "name"):
        return {**raw, head: {rest: value}}
    return {**raw, head: changed(inner, rest, value) if rest else value}


def base(sections: dict[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "name": "base",
        "data": {"validation_size": 100},
        "model": {"latent_size": 2, **MLP},
        "optimiser": {"warmup_steps": 2, "gradient_clip_norm": 1e6},
        "trainer": {"epochs": 2, "batch_size": 64, "precision": "float32", "channels_last": True},
    }
    return {key: {**raw.get(key, {}), **sections.get(key, {})} for key in {*raw, *sections} - {"name"}} | {
        "name": "base"
    }


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    """Version 1 of `base`, to start from: the base run after one more epoch."""
    root = tmp_path_factory.mktemp("published")
    raw = changed(base(BINARY), "trainer.epochs", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)
        fitted = fit(parse_config(raw, where="x"), digits, root / "run", console=SILENT)
    write_evaluation(
        root / "run", evaluate(fitted.model, digits.test, importance_samples=2, importance_images=9)
    )
    export_run(
        root / "run",
        name="base",
        store=ModelStore(root / "store"),
        cache_dir=root,
        tell=lambda _: None,
        allow_collapsed=True,
    )
    return ModelStore(root / "store")


@pytest.fixture(scope="module")
def run_of(digits, store, tmp_path_factory):
    """What a run came to: its weights, how often it saved and drew, what it said, its memory layout."""
    known: dict[str, tuple[object, ...]] = {}

    def run(raw: dict[str, Any]) -> tuple[object, ...]:
        config = parse_config(raw, where="base")
        if config.to_json() in known:
            return known[config.to_json()]
        saves, drawings, layouts, said = 0, 0, set(), []
        original = RunCheckpoint._save

        def save(self, trainer):
            nonlocal saves
            saves += 1
            layouts.update(p.stride() for p in weights_to_keep(trainer).parameters() if p.ndim == 4)
            original(self, trainer)

        def draw(self, model):
            nonlocal drawings
            drawings += 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunCheckpoint, "_save", save)
            patch.setattr("training.fitting.snapshots.Pictures.draw", draw)
            console = Console(say=lambda line: said.append(line.split("beta")[0]))
            fitted = fit(config, digits, tmp_path_factory.mktemp("key") / "run", console=console, store=store)
        outcome = (weights_sha256(fitted.model), saves, drawings, tuple(said), frozenset(layouts))
        return known.setdefault(config.to_json(), outcome)

    return run


@pytest.mark.parametrize("key", CHANGES)
def test_changing_a_key_changes_the_run(key, run_of):
    sections, value = CHANGES[key]
    raw = base(sections)
    assert run_of(changed(raw, key, value)) != run_of(raw)


def test_the_same_keys_give_the_same_run(digits, tmp_path_factory):
    """The twin: what these tests call a change is not mere chance."""
    raw, shas = base(BINARY), []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)
            out = tmp_path_factory.mktemp("twin") / "run"
            shas.append(weights_sha256(fit(parse_config(raw, where="x"), digits, out, console=SILENT).model))
    assert shas[0] == shas[1]


@pytest.mark.parametrize("key", READING)
def test_changing_a_key_of_reading_changes_what_is_read(key, mnist_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.mnist_download.ensure_mnist", lambda cache_dir, *, tell: mnist_folder)
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")

    def read(config: RunConfig) -> list[object]:
        outcomes: list[object] = [load_images(tmp_path, config.data).image_shape]
        try:
            outcomes.append(load_images(None, config.data).name)
        except ConfigError as error:
            outcomes.append(str(error))
        return outcomes

    raw = {"name": "base"}
    assert read(parse_config(changed(raw, key, READING[key]), where="x")) != read(
        parse_config(raw, where="x")
    )


@pytest.mark.parametrize("key", EVALUATION)
def test_changing_a_key_of_the_evaluation_changes_the_figures(key, digits, tiny):
    model = build_model(tiny().model, digits.image_shape)
    figures = []
    for value in (None, EVALUATION[key]):
        raw = {"name": "base", "evaluation": {"importance_samples": 3, "importance_images": 20}}
        settings = parse_config(changed(raw, key, value) if value else raw, where="x").evaluation
        figures.append(
            evaluate(
                model,
                digits.test,
                importance_samples=settings.importance_samples,
                importance_images=settings.importance_images,
                seed=settings.seed,
            )["nll_iw"]
        )
    assert figures[0] != figures[1]


@pytest.mark.parametrize("key", DRAWS)
def test_changing_a_key_of_the_draws_changes_the_draws_of_labels(key, digits):
    prior = {**PRIOR["model"]["prior"], "label_candidates": 4, "label_probability": 0.9}
    raw = base({"model": {**PRIOR["model"], "prior": prior}})
    drawn = []
    for variant in (raw, changed(raw, key, DRAWS[key])):
        torch.manual_seed(0)
        model = build_model(parse_config(variant, where="x").model, digits.image_shape)
        assert isinstance(model.prior, LearnedPrior)
        with torch.no_grad():
            model.prior.mixture.means[:10] += 1.0
            drawn.append(model.prior.draw_labelled(torch.arange(10), torch.Generator().manual_seed(0)))
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("key", WORDS)
def test_changing_a_word_changes_what_is_told_at_the_start(key, digits):
    expect = {"minutes": 1.0, "negative_elbo": 100.0, "measured_on": "here"}
    raw = {**base(BINARY), "description": "said", "expect": expect}
    plans = []
    for variant in (raw, changed(raw, key, WORDS[key])):
        config = parse_config({k: v for k, v in variant.items() if v is not None}, where="x")
        expected = _expected(config, config)
        plans.append(_plan(config, digits, Path("out"), expected=expected, resume=False, processes=ALONE))
    assert plans[0] != plans[1]
