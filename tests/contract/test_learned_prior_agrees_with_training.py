"""A learned prior is the same density in torch, through its published files, and in the service."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from direct import directly, load
from finished_runs import make_run_with_learned_prior

from model_store import ModelStore, PublishedModel
from service.engine import LoadedModel, decode, encode, sample, score
from service.engine.operations.noise import Place, standard_normal_of
from service.engine.runtime.batch_invariance import BATCH_SIZES
from training.config.reading import parse_config
from training.data import ImageData, load_mnist
from training.errors import ConfigError
from training.evaluation.figures import evaluate, weights_sha256
from training.graphs.published_model import PublishedVAE, published_model
from training.models import LatentImageModel
from training.publishing.export import export_run
from training.publishing.fit_prior import PriorRequest, fit_prior_of_run, fit_prior_of_version
from training.runs.run_directory import load_run

PRIOR: dict[str, Any] = {"name": "learned", "couplings": 4, "hidden_width": 16, "components": 2, "labels": 10}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    data = load_mnist(Path(__file__).parents[1] / "data" / "mnist")
    return ImageData(
        name=data.name, train=data.train.take(torch.arange(600)), test=data.test.take(torch.arange(60))
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    config = parse_config(
        {
            "name": "tiny",
            "data": {"validation_size": 100},
            "model": {
                "latent_size": 4,
                "trunk": {"type": "mlp", "encoder_hidden": [16], "decoder_hidden": [16]},
                "prior": PRIOR,
            },
        },
        where="tiny",
    )
    return make_run_with_learned_prior(tmp_path_factory.mktemp("learned") / "run", config, digits)


@pytest.fixture(scope="module")
def store(run, tmp_path_factory) -> ModelStore:
    root = tmp_path_factory.mktemp("store")
    store = ModelStore(root / "models")
    told: list[str] = []
    export_run(run, name="digits", store=store, cache_dir=root, tell=told.append, allow_collapsed=True)
    assert any(line.startswith("exported the learned prior; torch and onnxruntime differ") for line in told)
    return store


@pytest.fixture(scope="module")
def published(store) -> PublishedModel:
    return store.open("digits")


@pytest.fixture(scope="module")
def model(run) -> LatentImageModel:
    return load_run(run).model


@pytest.fixture(scope="module")
def subject(published) -> PublishedVAE:
    version = published_model(published, threads=1)
    assert isinstance(version, PublishedVAE)
    return version.eval()


@pytest.fixture(scope="module")
def served(published) -> LoadedModel:
    return load(published)


def test_the_manifest_describes_the_prior(published, model):
    entry = published.manifest.learned_prior
    assert (published.manifest.schema_version, entry.components) == (5, 20)
    assert [each.label for each in entry.labels] == [str(digit) for digit in range(10)]
    assert sum(each.share for each in entry.labels) == pytest.approx(1.0)
    assert "4 affine couplings" in entry.protocol
    recipe = published.manifest.provenance.recipe["model"]
    assert isinstance(recipe, dict)
    assert recipe["prior"] == {
        **PRIOR,
        "label_weight": 1.0,
        "label_candidates": 1,
        "label_probability": 0.99,
    }
    assert "## Learned prior" in published.card
    assert "learned with the model, see below" in published.card


def test_density_is_the_same_in_torch_and_through_the_files(model, subject):
    z = 2.0 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(subject.prior.log_prob(z), model.prior.log_prob(z), atol=1e-3, rtol=0)
        torch.testing.assert_close(
            subject.prior.log_prob_by_label(z), model.prior.log_prob_by_label(z), atol=2e-3, rtol=0
        )
    torch.testing.assert_close(
        torch.tensor(subject.prior.label_shares()), torch.tensor(model.prior.label_shares())
    )


def test_draws_of_a_label_are_those_that_the_density_expects(model, subject):
    """Through the files, as in torch: E[log p(z|y)] over draws is minus the same entropy."""
    labels = torch.full((3000,), 7)
    means = []
    with torch.inference_mode():
        for prior in (model.prior, subject.prior):
            z = prior.draw_labelled(labels, torch.Generator().manual_seed(3))
            means.append(model.prior.log_prob_by_label(z)[:, 7].mean().item())
    assert means[0] == pytest.approx(means[1], abs=0.15)


def test_figures_of_the_version_are_those_of_the_run(model, subject, digits):
    options: dict[str, Any] = {"importance_samples": 8, "importance_images": 20}
    of_run, of_version = (evaluate(each, digits.test, **options) for each in (model, subject))
    for metric in of_run.metrics:
        assert of_version[metric.name] == pytest.approx(metric.value, abs=2e-3), metric.name


def test_digest_of_a_version_includes_its_prior(published, subject):
    names = [name for name, _ in subject.named_buffers()]
    assert {"prior.sampler_graph", "prior.density_graph"} <= set(names)
    assert weights_sha256(subject) == weights_sha256(published_model(published, threads=1))


def test_service_draws_what_torch_maps(served, model, published):
    drawn = directly(sample, served, n=30, seed=11, label="3")
    with torch.inference_mode():
        u, _ = model.prior.to_base(torch.from_numpy(drawn.z))
        torch.testing.assert_close(
            model.decode(torch.from_numpy(drawn.z)).numpy(), drawn.x_hat, atol=1e-5, rtol=0
        )
    third = published.prior.split(published.manifest.learned_prior)[1 + 3]
    whitened = np.stack(
        [
            np.linalg.solve(factor.astype(np.float64), (u.numpy() - mean).T).T
            for factor, mean in zip(third.cholesky, third.means, strict=True)
        ]
    )
    # Each u belongs to one of the label's two Gaussians: within its noise, whose length hardly exceeds 5.
    assert np.linalg.norm(whitened, axis=2).min(axis=0).max() < 5.5
    assert directly(decode, served, drawn.z).tobytes() == drawn.x_hat.tobytes()


def test_service_scores_as_torch_does(served, model, digits):
    x = (digits.test.whole()[:20].float() / 255.0).round().numpy()
    scores = directly(score, served, x, seed=5)
    q = directly(encode, served, x)
    z = q.draw(standard_normal_of(seed=5, places=(Place(0, 20, 2),), size=4))
    with torch.inference_mode():
        kl = model.divergence(model.encode(torch.from_numpy(x)), torch.from_numpy(z))
    np.testing.assert_allclose(scores.kl, kl.numpy(), atol=2e-3)


def test_both_graphs_of_the_prior_run_in_batches(published, monkeypatch):
    """Couplings without Exp, so that no row's bits depend on its batch, however long a row takes."""
    monkeypatch.setattr("service.engine.runtime.batch_invariance._SLOW_ROW_S", math.inf)
    sizes = load(published).batch_sizes
    assert sizes["prior_sampler.onnx"] == sizes["prior_density.onnx"] == BATCH_SIZES


def test_a_further_prior_is_refused(run, store):
    request = PriorRequest(data_dir=None)
    with pytest.raises(ConfigError, match="got one with a learned prior"):
        fit_prior_of_run(run, request)
    with pytest.raises(ConfigError, match="digits@1: expected a model that was trained with N"):
        fit_prior_of_version("digits@1", request, store=store)


def test_training_goes_on_from_a_version_with_a_learned_prior(store, model):
    """Another run can start from its encoder, its decoder and its prior."""
    from training.fitting.warm_start import StartingWeights
    from training.models import build_model

    config = parse_config(
        json.loads(json.dumps(store.open("digits").manifest.provenance.recipe)), where="digits@1"
    )
    torch.manual_seed(5)
    begun = build_model(config.model, (1, 28, 28))
    StartingWeights.read("digits@1", store).load_into(begun)
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(begun.prior.log_prob(z), model.prior.log_prob(z), atol=1e-3, rtol=0)
