"""A run or a published version is opened by what the user typed, and says what it is."""

import json

import numpy as np
import pytest
import torch
from finished_runs import make_finished_run
from tiny_models import TinyModel, publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelNotFound, ModelStore
from training.config.sections import EvaluationConfig
from training.errors import RunDirectoryError
from training.evaluation.figures import weights_sha256
from training.evaluation.subject import open_subject
from training.priors.files import write_prior
from training.runs.run_directory import RunDirectory, load_run, save_model


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


def test_directory_is_a_run_with_the_settings_of_its_recipe(tmp_path, tiny, digits, store):
    run = make_finished_run(tmp_path / "run", tiny(), digits)
    subject = open_subject(str(run), store=store)
    assert (subject.label, subject.run, subject.folder) == (str(run), run, run)
    assert subject.settings == EvaluationConfig(importance_samples=3, importance_images=20)
    assert subject.trained_on == digits.train.fingerprint
    assert subject.measured_through.startswith("torch ")


@pytest.fixture
def run_with_prior(tmp_path, tiny, digits):
    """A run of four latents, and the mixtures that were fitted to it, with those of three labels."""
    run = make_finished_run(tmp_path / "run", tiny(), digits)
    entry, mixtures = fitted_prior(4)
    write_prior(RunDirectory(run), entry, mixtures, weights_sha256=weights_sha256(load_run(run).model))
    return run, mixtures.split(entry)


def test_run_has_the_prior_that_was_fitted_to_it(run_with_prior, store):
    run, mixtures = run_with_prior
    subject = open_subject(str(run), store=store)
    assert subject.stale_prior is None
    assert subject.prior.labels == ("0", "1", "7")
    for found, written in zip(subject.prior.mixtures, mixtures, strict=True):
        np.testing.assert_array_equal(found.means, written.means)
        np.testing.assert_array_equal(found.cholesky, written.cholesky)


def test_run_that_went_on_after_its_prior_is_opened_without_it_and_says_so(run_with_prior, store):
    """Samples of a model that is no more must not pass for those of this one."""
    run, _ = run_with_prior
    model = load_run(run).model
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)
    save_model(RunDirectory(run), model, epochs=3)
    subject = open_subject(str(run), store=store)
    assert subject.prior is None
    assert subject.stale_prior.startswith(f"a stale prior: {run}/prior.npz was fitted to other weights")
    assert f"Run `vae-train fit-prior {run} --data DIR`" in subject.stale_prior


def test_run_with_a_damaged_prior_is_refused_before_anything_is_measured(run_with_prior, store):
    run, _ = run_with_prior
    (run / "prior.npz").write_bytes(b"something else")
    with pytest.raises(RunDirectoryError, match=r"prior\.npz: expected the output of `vae-train fit-prior`"):
        open_subject(str(run), store=store)


def test_run_with_a_wrong_key_in_its_prior_is_told_which(run_with_prior, store):
    run, _ = run_with_prior
    stated = json.loads((run / "prior.json").read_text())
    (run / "prior.json").write_text(json.dumps({**stated, "weights_sha256": 7}))
    with pytest.raises(RunDirectoryError, match=r"got: 'weights_sha256': Input should be a valid string\. "):
        open_subject(str(run), store=store)


@pytest.mark.parametrize("name", ["tiny", "tiny@1", "tiny@stable"])
def test_anything_else_is_a_version_of_the_store(store, name):
    publish_tiny(store, model=TinyModel.make(latent_size=3), aliases=("stable",))
    subject = open_subject(name, store=store)
    assert (subject.label, subject.run, str(subject.folder)) == ("tiny@1", None, "reports/tiny-1")
    assert subject.model.latent_size == 3
    assert not subject.model.training
    assert subject.measured_through.startswith("onnxruntime ")
    assert subject.settings == EvaluationConfig()  # its manifest states no recipe of ours


def test_version_computes_what_it_should(store):
    model = TinyModel.make(latent_size=3)
    publish_tiny(store, model=model)
    subject = open_subject("tiny", store=store)
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    mu, logvar = model.encode(x.numpy())
    posterior = subject.model.encode(x)
    torch.testing.assert_close(posterior.mu, torch.from_numpy(mu), atol=1e-5, rtol=0)
    torch.testing.assert_close(posterior.logvar, torch.from_numpy(logvar), atol=1e-5, rtol=0)
    x_hat = torch.from_numpy(model.decode(mu))
    torch.testing.assert_close(subject.model.decode(posterior.mu), x_hat, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.sigmoid(subject.model.decode_params(posterior.mu)).float(), x_hat, atol=1e-5, rtol=0
    )


def test_what_is_neither_is_told(store):
    with pytest.raises(
        RunDirectoryError, match="runs/nothing: expected a run directory or a published version"
    ):
        open_subject("runs/nothing", store=store)


def test_version_that_does_not_exist_is_told_by_the_store(store):
    with pytest.raises(ModelNotFound, match="`absent`: no such model"):
        open_subject("absent", store=store)
