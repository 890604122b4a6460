"""Images of any shape that can be trained on, from a file to every form in which they are served.

Odd sides, both numbers of channels, wide and tall: two training steps, export, and the numbers of the trained
model in every answer of the server.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from http_calls import Caller
from numpy.typing import NDArray
from PIL import Image

from model_store.manifest import GoldenSpec
from service.app import create_app
from service.settings import Settings
from training.cli import main
from training.models import LatentImageModel
from training.runs.run_directory import load_run

RECIPE = """
name = "two-steps"
[data]
dataset = "given"
validation_size = 0.2
binarisation = "grey"
[model]
latent_size = 5
[model.trunk]
type = "residual"
encoder_channels = [4, 6]
decoder_channels = [4, 6]
decoder_blocks = 1
[model.likelihood]
name = "gaussian"
learned = true
[optimiser]
warmup_steps = 1
[trainer]
epochs = 1
batch_size = 60
precision = "float32"
[evaluation]
importance_samples = 2
importance_images = 4
"""
#: Those that differ most: the smallest, and odd, wide and in colour. The others take minutes.
SHAPES = [(1, 8, 8), (3, 13, 31)]
EVERY_SHAPE = [(channels, side, side) for channels in (1, 3) for side in (8, 13, 28, 31, 64)]
LATENT_ATOL, PIXEL_ATOL = GoldenSpec().latent_atol, GoldenSpec().pixel_atol


@dataclass(frozen=True)
class Served:
    """A model at both ends, and images for it."""

    shape: tuple[int, int, int]
    api: Caller
    model: LatentImageModel
    levels: NDArray[np.uint8]
    """Of six images, (6, C, H, W)."""

    @property
    def x(self) -> NDArray[np.float32]:
        return self.levels.astype(np.float32) / np.float32(255)

    def mu(self) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self.model.encode(torch.from_numpy(self.x)).mu.numpy()

    def x_hat(self) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self.model.decode(torch.from_numpy(self.mu())).numpy()


def gradients(shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    """Pictures with shades, no two alike and none of them symmetric: a transposed axis would show."""
    rng = np.random.default_rng(0)
    channels, height, width = shape
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    slopes = rng.random((3, count, channels, 1, 1))
    plane = slopes[0] * y + slopes[1] * x**2 + 0.3 * slopes[2] + 0.05 * rng.random((count, *shape))
    return (255 * plane / plane.max()).astype(np.uint8)


def serve(shape: tuple[int, int, int], folder: Path) -> Served:
    """By the commands a user would type, then an application over the store."""
    (folder / "recipe.toml").write_text(RECIPE)
    np.savez(folder / "mine.npz", images=gradients(shape, 200))
    fit = f"fit --recipe {folder}/recipe.toml --data {folder}/mine.npz --out {folder}/run"
    export = f"export {folder}/run --name mine --data {folder}/mine.npz --store {folder}/store"
    assert main(fit.split()) == 0
    assert main([*export.split(), "--allow-collapsed"]) == 0  # two steps teach it nothing
    app = create_app(Settings(model_store=folder / "store", default_model="mine", threads=1))
    return Served(shape, Caller(app), load_run(folder / "run").model, gradients(shape, 300)[-6:])


def check_every_form(served: Served) -> None:
    check_encoding(served)
    check_pictures(served)
    check_arrays(served)


def check_encoding(served: Served) -> None:
    """JSON, npy of both types and PNG give the latents of the trained model."""
    api, mu = served.api, served.mu()
    body = {"images": served.x.tolist()}
    np.testing.assert_allclose(api.post_json("/encode", body).json()["mu"], mu, atol=LATENT_ATOL, rtol=0)
    for array in (served.levels, served.x):
        sent = io.BytesIO()
        np.save(sent, array)
        answer = api.post("/encode.npz", sent.getvalue(), "application/x-npy")
        with np.load(io.BytesIO(answer.body)) as arrays:
            np.testing.assert_allclose(arrays["mu"], mu, atol=LATENT_ATOL, rtol=0)
    for levels, expected in zip(served.levels, mu, strict=True):
        answer = api.post("/encode", png_of(levels), "image/png")
        np.testing.assert_allclose(answer.json()["mu"][0], expected, atol=LATENT_ATOL, rtol=0)
    larger = api.post("/encode?resize=true", png_of(served.levels[0].repeat(3, 1).repeat(3, 2)), "image/png")
    np.testing.assert_allclose(larger.json()["mu"][0], mu[0], atol=0.1, rtol=0)


def check_pictures(served: Served) -> None:
    """PNG of the right size, mode and orientation, and text."""
    channels, height, width = served.shape
    x_hat = np.rint(served.x_hat() * 255)
    for levels, expected in zip(served.levels, x_hat, strict=True):
        picture = open_png(served.api.post("/reconstruct.png", png_of(levels), "image/png").body)
        assert (picture.size, picture.mode) == ((width, height), "L" if channels == 1 else "RGB")
        assert np.abs(pixels_of(picture) - expected).max() <= 1
    sheet = open_png(served.api.get("/sample.png?n=6&seed=3&columns=3&scale=2").body)
    assert sheet.size == (2 * (3 * (width + 1) + 1), 2 * (2 * (height + 1) + 1))
    text = served.api.get("/sample.txt?n=2&seed=3").body.decode()
    shown = height / max(1.0, width / 28, height / 28)  # a cell is 2 × 4 dots, an image at most 14 × 7 cells
    assert len(text.splitlines()) == -(-int(shown + 1e-6) // 4)
    assert set(text) <= {chr(code) for code in range(0x2800, 0x2900)} | {" ", "\n"}


def check_arrays(served: Served) -> None:
    """Reconstructions as npy, and decoded draws as JSON, are those of the trained model."""
    sent = io.BytesIO()
    np.save(sent, served.levels)
    answer = served.api.post("/reconstruct.npy", sent.getvalue(), "application/x-npy")
    np.testing.assert_allclose(np.load(io.BytesIO(answer.body)), served.x_hat(), atol=2 * PIXEL_ATOL, rtol=0)
    drawn = served.api.get("/sample?n=3&seed=5").json()
    assert np.shape(drawn["images"]) == (3, *served.shape)
    with torch.inference_mode():
        expected = served.model.decode(torch.tensor(drawn["z"])).numpy()
    for images in (drawn["images"], served.api.post_json("/decode", {"z": drawn["z"]}).json()["images"]):
        np.testing.assert_allclose(images, expected, atol=PIXEL_ATOL, rtol=0)


def png_of(levels: NDArray[np.uint8]) -> bytes:
    """Of one image (C, H, W)."""
    out = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1).copy()).save(out, "PNG")
    return out.getvalue()


def open_png(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixels_of(picture: Image.Image) -> NDArray[np.float32]:
    """(C, H, W)."""
    pixels = np.asarray(picture, dtype=np.float32)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_a_shape_are_trained_on_and_served_in_every_form(shape, tmp_path):
    served = serve(shape, tmp_path)
    with served.api:
        check_every_form(served)


@pytest.mark.hard
@pytest.mark.parametrize("shape", EVERY_SHAPE)
def test_images_of_every_side_are_trained_on_and_served_in_every_form(shape, tmp_path):
    served = serve(shape, tmp_path)
    with served.api:
        check_every_form(served)
