"""A run or a published version is opened by what the user typed, and says what it is."""

import pytest
import torch
from tiny_models import TinyModel, publish_tiny

from model_store import ModelNotFound, ModelStore
from training.config import EvaluationConfig
from training.errors import RunDirectoryError
from training.subjects import open_subject

from .finished_runs import make_finished_run


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
    with pytest.raises(ModelNotFound, match="no model 'absent'"):
        open_subject("absent", store=store)
