"""A published version is measured as the model it came from is: same code, same figures."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from finished_runs import export_once, make_finished_run

from model_store import BUNDLED_STORE, GoldenMismatch, ModelStore
from training.data import load_mnist
from training.evaluation.figures import evaluate, weights_sha256
from training.graphs.export import Graphs
from training.graphs.parity import OnnxPair
from training.graphs.published_model import HIGHEST_PROBABILITY, LOWEST_PROBABILITY, logit, published_model
from training.models import Bernoulli, Gaussian
from training.objectives.estimators import Observations, elbo_parts
from training.publishing import export as export_module
from training.publishing.export import export_run
from training.runs.run_directory import load_run

GREY = {"data": {"validation_size": 100, "binarisation": "grey"}}
GAUSSIAN = {"likelihood": {"name": "gaussian", "sigma": 0.2, "learned": True}}
#: Sections of a recipe by what is published.
KINDS = {
    "vae": {},
    "gaussian": {**GREY, "model": {"latent_size": 4, **GAUSSIAN}},
    "ae": {"model": {"latent_size": 4, "kind": "ae"}},
}


@pytest.fixture
def publish(tmp_path, tiny, digits, monkeypatch):
    """(model of a run in torch, the same published)."""
    monkeypatch.setattr(export_module, "export_graphs", export_once)

    def make(**sections):
        run = make_finished_run(tmp_path / "run", tiny(**sections), digits)
        store = ModelStore(tmp_path / "store")
        export_run(
            run, name="digits", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
        )
        return load_run(run).model, store.open("digits")

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_published_version_has_the_figures_of_its_run(kind, publish, digits):
    model, published = publish(**KINDS[kind])
    subject = published_model(published, threads=1).eval()
    assert subject.kind == model.kind
    assert (subject.image_shape, subject.latent_size) == (model.image_shape, model.latent_size)
    options: dict[str, Any] = {"importance_samples": 8, "importance_images": 20}
    of_run, of_version = (evaluate(each, digits.test, **options) for each in (model, subject))
    assert [metric.name for metric in of_version.metrics] == [metric.name for metric in of_run.metrics]
    for metric in of_run.metrics:
        assert of_version[metric.name] == pytest.approx(metric.value, abs=2e-3), metric.name
        assert next(m for m in of_version.metrics if m.name == metric.name).unit == metric.unit


def test_gaussian_keeps_the_sigma_that_was_published(publish):
    model, published = publish(**KINDS["gaussian"])
    likelihood = published_model(published, threads=1).likelihood
    assert isinstance(likelihood, Gaussian)
    assert likelihood.spec().sigma == pytest.approx(model.likelihood.spec().sigma)


def test_bundled_model_costs_the_same_through_its_pixels_as_through_its_logits(mnist_folder):
    """The published decoder gives probabilities; the clamp on the way back must not move a figure.

    The other way: the same file with its sigmoid taken out, so that it gives the logits themselves.
    """
    published = ModelStore(BUNDLED_STORE).open("mnist@1")
    subject = published_model(published, threads=1).eval()
    decoder = onnx.load_from_string(published.decoder)
    (sigmoid,) = [node for node in decoder.graph.node if node.output[0] == "x_hat"]
    assert sigmoid.op_type == "Sigmoid"
    sigmoid.op_type = "Identity"
    bare = OnnxPair(Graphs(published.encoder, decoder.SerializeToString()))
    observations = Observations(load_mnist(mnist_folder).test, "dynamic", seed=0)
    with torch.inference_mode():
        through_pixels = elbo_parts(subject, observations, batch_size=100).reconstruction_nll
        subject.decode_params = lambda z: torch.from_numpy(bare.decode(z.numpy()))
        through_logits = elbo_parts(subject, observations, batch_size=100).reconstruction_nll
    difference = through_pixels - through_logits
    assert abs(difference.mean().item()) < 0.01
    assert difference.abs().max().item() < 1.0
    assert through_logits.mean().item() == pytest.approx(60.0, abs=3.0)


def test_logit_inverts_the_sigmoid_as_far_as_float32_tells():
    params = torch.linspace(-80.0, 12.0, 200)
    torch.testing.assert_close(logit(torch.sigmoid(params)).float(), params, atol=0.02, rtol=1e-5)
    # Beyond, float32 says 1, and a dark pixel there costs what the nearest float32 would bear.
    sure = logit(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(
        -torch.log1p(-torch.sigmoid(sure[:1])), torch.tensor([17.328680], dtype=sure.dtype)
    )
    assert sure[1].item() == pytest.approx(np.log(LOWEST_PROBABILITY))
    assert np.float32(HIGHEST_PROBABILITY) == 1.0


def test_cost_of_a_wrong_pixel_is_finite_however_sure_the_decoder_was():
    params = logit(torch.tensor([[[[0.0, 1.0]]]]))
    right, wrong = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    assert Bernoulli().log_prob(right, params).item() == pytest.approx(0.0, abs=1e-6)
    assert Bernoulli().log_prob(wrong, params).item() == pytest.approx(-(87.34 + 17.33), abs=0.01)


def test_digest_is_of_the_published_bytes(publish):
    """So that figures of one version cannot pass for those of another."""
    _, published = publish()
    spoken = published_model(published, threads=1)
    assert weights_sha256(spoken) == weights_sha256(published_model(published, threads=2))
    padded = onnx.load_from_string(published.decoder)
    padded.doc_string = "another file that computes the same"
    other = replace(published, decoder=padded.SerializeToString())
    assert weights_sha256(published_model(other, threads=1)) != weights_sha256(spoken)


def test_version_whose_runtime_computes_something_else_is_refused(publish):
    _, published = publish()
    golden = replace(published.golden, mu=published.golden.mu + np.float32(0.01))
    with pytest.raises(GoldenMismatch, match="golden vectors: 'mu'"):
        published_model(replace(published, golden=golden), threads=1)


def test_measuring_draws_the_same_noise_for_both_kinds_of_sampling(publish, generator):
    model, published = publish()
    subject = published_model(published, threads=1)
    x = torch.rand(3, 1, 28, 28, generator=generator)
    posterior = subject.encode(x)
    torch.testing.assert_close(
        subject.sample_posterior(posterior, generator=torch.Generator().manual_seed(1)),
        model.sample_posterior(model.encode(x), generator=torch.Generator().manual_seed(1)),
        atol=1e-4,
        rtol=0,
    )
    torch.testing.assert_close(
        subject.divergence(posterior, posterior.mu),
        model.divergence(model.encode(x), posterior.mu),
        atol=1e-4,
        rtol=0,
    )
