"""Runs whose prior is learned with the model."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from finished_runs import make_finished_run, seeded_model

from model_store import ModelStore
from training.data import ImageData
from training.errors import DataError
from training.evaluation.figures import evaluate
from training.fitting.callbacks import RunCheckpoint
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.warm_start import StartingWeights
from training.models import LearnedPrior, build_model
from training.publishing.export import export_run

SILENT = Console(say=lambda line: None)
PRIOR: dict[str, Any] = {"name": "learned", "couplings": 4, "hidden_width": 16, "components": 2, "labels": 10}


def without_labels(data: ImageData) -> ImageData:
    return replace(data, train=replace(data.train, labels=None))


def test_a_learned_prior_explains_new_digits_better(tiny, digits, tmp_path, no_pictures):
    """The same recipe, steps and noise: only the prior differs."""
    bounds = []
    for number, model in enumerate(({}, {"prior": PRIOR})):
        config = tiny(
            model=model, trainer={"epochs": 32}, optimiser={"learning_rate": 4e-3, "final_fraction": 0.1}
        )
        run = fit(config, digits, tmp_path / str(number), console=SILENT)
        bounds.append(evaluate(run.model, digits.test, importance_samples=8, importance_images=100))
    standard, learned = bounds
    assert learned["negative_elbo"] < standard["negative_elbo"] - 0.5
    assert learned["nll_iw"] < standard["nll_iw"]
    (protocol,) = [metric.protocol for metric in learned.metrics if metric.name == "kl"]
    assert "KL to the learned prior from the same sample" in protocol


def test_the_gaussians_of_a_label_describe_its_images(tiny, digits, tmp_path, no_pictures):
    """p(y|z), which nothing but the prior computes, names the digit of most new images."""
    config = tiny(model={"prior": PRIOR}, trainer={"epochs": 32}, optimiser={"learning_rate": 4e-3})
    model = fit(config, digits, tmp_path / "run", console=SILENT).model
    assert isinstance(model.prior, LearnedPrior)
    with torch.inference_mode():
        mu = model.encode(digits.test.whole().float() / 255.0).mu
        named = model.prior.log_prob_by_label(mu).argmax(dim=1)
    assert (named == digits.test.labels).double().mean() > 0.25  # by chance 0.1


def test_a_resumed_run_ends_with_the_same_bits(
    tiny, digits, tmp_path, no_pictures, monkeypatch, same_weights
):
    config = tiny(
        model={"prior": PRIOR},
        objective={"importance_samples": 2, "importance_part": 0.5},
        optimiser={"name": "muon"},
        trainer={"checkpoint_minutes": 1e-6},
    )
    fit(config, digits, tmp_path / "whole", console=SILENT)
    original, count = RunCheckpoint._save, 0

    def cut_off(self, trainer):
        nonlocal count
        original(self, trainer)
        count += 1
        if count == 5:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        with pytest.raises(InterruptedError):
            fit(config, digits, tmp_path / "cut", console=SILENT)
    fit(config, digits, tmp_path / "cut", console=SILENT, resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


def test_images_without_labels_are_refused_before_anything_is_written(tiny, digits, tmp_path):
    with pytest.raises(DataError, match=r"expected images with labels, as model.prior.labels = 10 needs"):
        fit(tiny(model={"prior": PRIOR}), without_labels(digits), tmp_path / "run", console=SILENT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels", [9, 11])
def test_another_number_of_labels_is_refused(labels, tiny, digits, tmp_path):
    config = tiny(model={"prior": {**PRIOR, "labels": labels}})
    with pytest.raises(DataError, match=r"got images of 10 labels from 0 to 9. Set model.prior.labels"):
        fit(config, digits, tmp_path / "run", console=SILENT)


def test_a_prior_without_labels_needs_none(tiny, digits, tmp_path, no_pictures):
    config = tiny(model={"prior": {**PRIOR, "labels": 0}}, trainer={"epochs": 1})
    run = fit(config, without_labels(digits), tmp_path / "run", console=SILENT)
    assert isinstance(run.model.prior, LearnedPrior)


def test_training_starts_from_a_version_with_the_standard_prior(tiny, digits, tmp_path):
    """Encoder and decoder are the version's; the prior starts near N(0, I), with which they were trained."""
    store = ModelStore(tmp_path / "store")
    run = make_finished_run(tmp_path / "published", tiny(), digits)
    export_run(run, name="start", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        model = build_model(tiny(model={"prior": PRIOR}).model, (1, 28, 28))
    StartingWeights.read("start@1", store).load_into(model)
    wanted = seeded_model(tiny().model)
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.prior.log_prob(z), wanted.prior.log_prob(z), atol=0.5, rtol=0)
