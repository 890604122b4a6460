"""A folder of pictures above 64 pixels goes the whole way: fit, evaluate, export, every path of the server.

Latents have positions, and the numbers in every answer are those of the trained model.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from http_calls import Answer, Caller
from PIL import Image

from model_store import ModelStore
from model_store.manifest import GoldenSpec
from service.app import create_app
from service.settings import Settings
from training.cli import main
from training.evaluation.subject import open_subject
from training.models import LatentImageModel
from training.runs.run_directory import load_run

SIDE = 96
LATENT = (2, 12, 12)
RECIPE = f"""
name = "two-steps"
[data]
dataset = "given"
side = {SIDE}
validation_size = 0.2
binarisation = "grey"
[model]
latent_size = {LATENT[0]}
[model.trunk]
type = "residual"
latents = "spatial"
encoder_channels = [4, 4, 6]
decoder_channels = [4, 4, 6]
decoder_blocks = 1
[model.likelihood]
name = "gaussian"
learned = true
[optimiser]
warmup_steps = 1
[trainer]
epochs = 2
batch_size = 8
precision = "float32"
[evaluation]
importance_samples = 2
importance_images = 2
"""
SPEC = GoldenSpec()


@dataclass(frozen=True)
class Served:
    """A model at both ends, and images for it."""

    folder: Path
    api: Caller
    model: LatentImageModel
    x: np.ndarray
    """Three images, (3, 3, SIDE, SIDE)."""

    def mu(self) -> np.ndarray:
        with torch.inference_mode():
            return self.model.encode(torch.from_numpy(self.x)).mu.numpy()

    def x_hat(self, z: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.model.decode(torch.from_numpy(z)).numpy()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """By the commands that a user would type."""
    folder = tmp_path_factory.mktemp("spatial")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        colours = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((120, 110)).save(folder / "pictures" / f"{number}.png")
    (folder / "recipe.toml").write_text(RECIPE)
    data = f"--data {folder}/pictures"
    assert main(f"fit --recipe {folder}/recipe.toml {data} --out {folder}/run".split()) == 0
    assert main(f"evaluate {folder}/run {data}".split()) == 0
    # Some steps teach it nothing.
    export = f"export {folder}/run {data} --name mine --store {folder}/store --allow-collapsed"
    assert main(export.split()) == 0
    settings = Settings(model_store=folder / "store", default_model="mine", threads=1)
    with Caller(create_app(settings)) as api:
        levels = rng.integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)
        yield Served(folder, api, load_run(folder / "run").model, levels.astype(np.float32) / np.float32(255))


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def post(served: Served, path: str, array: np.ndarray) -> Answer:
    answer = served.api.post(path, npy(array), content_type="application/x-npy")
    assert answer.status == 200, answer.body[:500]
    return answer


def images(answer: Answer) -> np.ndarray:
    found: np.ndarray = np.load(io.BytesIO(answer.body))
    return found


def test_the_manifest_states_the_latent_shape_and_the_training(served: Served) -> None:
    manifest = ModelStore(served.folder / "store").manifest("mine")
    assert (manifest.schema_version, manifest.latent_shape) == (5, LATENT)
    assert not manifest.is_imported
    assert [prior.name for prior in manifest.priors] == ["standard"]
    assert manifest.preview is not None
    assert "2 × 12 × 12 latents" in manifest.description
    card = ModelStore(served.folder / "store").open("mine").card
    assert "2 × 12 × 12" in card


def test_latents_have_their_shape_and_are_those_of_the_trained_model(served: Served) -> None:
    with np.load(io.BytesIO(post(served, "/encode.npz", served.x).body)) as found:
        mu = found["mu"]
    assert mu.shape == (3, *LATENT)
    np.testing.assert_allclose(mu.reshape(3, -1), served.mu(), atol=SPEC.latent_atol, rtol=0)
    decoded = images(post(served, "/decode.npy", mu))
    np.testing.assert_allclose(decoded, served.x_hat(served.mu()), atol=SPEC.pixel_atol, rtol=0)


def test_images_are_reconstructed_interpolated_and_drawn(served: Served) -> None:
    back = images(post(served, "/reconstruct.npy", served.x))
    np.testing.assert_allclose(back, served.x_hat(served.mu()), atol=SPEC.pixel_atol, rtol=0)
    between = images(post(served, "/interpolate.npy?steps=3", served.x[:2]))
    assert between.shape == (3, 3, SIDE, SIDE)
    np.testing.assert_allclose(between[0], back[0], atol=SPEC.pixel_atol, rtol=0)
    drawn = served.api.get("/sample.npy?n=2&seed=1")
    assert (drawn.status, drawn.headers["x-prior"]) == (200, "standard")
    assert images(drawn).shape == (2, 3, SIDE, SIDE)


def test_a_score_is_the_bound_of_the_trained_likelihood(served: Served) -> None:
    answer = served.api.post_json("/score", {"images": served.x[:1].tolist(), "seed": 1})
    assert answer.status == 200, answer.body[:300]
    with torch.inference_mode():
        posterior = served.model.encode(torch.from_numpy(served.x[:1]))
        kl = posterior.kl_to_standard_normal().double().item()
    assert answer.json()["kl"][0] == pytest.approx(kl, rel=1e-3, abs=1e-3)


def test_pictures_of_the_own_size_go_in_and_out(served: Served) -> None:
    shown = served.api.get("/sample.png?seed=1")
    with Image.open(io.BytesIO(shown.body)) as picture:
        assert picture.size == (SIDE, SIDE)
    back = served.api.post("/reconstruct.png", shown.body, content_type="image/png")
    assert back.status == 200, back.body[:300]


def test_the_published_version_is_measured_like_the_run(served: Served) -> None:
    store = ModelStore(served.folder / "store")
    subject = open_subject("mine", store=store, threads=1)
    x = torch.from_numpy(served.x)
    with torch.inference_mode():
        published = subject.model.encode(x)
    assert subject.model.latent_shape == LATENT
    np.testing.assert_allclose(published.mu.numpy(), served.mu(), atol=SPEC.latent_atol, rtol=0)


def test_the_report_has_its_sections_and_no_figure_that_fits_thousands_of_latents(served: Served) -> None:
    report = (served.folder / "run" / "report.md").read_text(encoding="utf-8")
    assert "reconstruction_rmse" in report
    assert "prior_log_density" in report


def test_training_goes_on_from_the_published_version(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = served.folder
    fit = (
        f"fit --recipe {folder}/recipe.toml --data {folder}/pictures --out {folder}/again "
        f"--start-from mine@1 --store {folder}/store --set trainer.epochs=1"
    )
    assert main(fit.split()) == 0, capsys.readouterr().err


def test_a_prior_with_full_covariances_needs_more_images_than_latents(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"fit-prior {served.folder}/run --data {served.folder}/pictures".split()) != 0
    assert "to fit a covariance of 288 latents" in capsys.readouterr().err
