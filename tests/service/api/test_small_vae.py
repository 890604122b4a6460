"""A trained pair of another project goes the whole way: picture → latents → picture, at sizes of its own."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from PIL import Image

from model_store import ModelStore
from model_store.cli import main
from service.app import create_app
from service.commands.importing.pictures import drawn
from service.commands.runtime_commands import COMMANDS
from service.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "data/small-vae"
#: `tests/support/small_vae.py` trains on the numbers below 10,000.
UNSEEN = 20_000_000
#: Size → least mean quality of the round trip in dB. Measured: 27.5 and 24.6, fine stripes cost most.
LEAST_DB = {(96, 96): 26.5, (64, 112): 23.5}
PICTURES = 8


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The store, and the document of the import."""
    folder = tmp_path_factory.mktemp("small")
    store, said = folder / "store", io.StringIO()
    argv = ["import", str(FOLDER), "--name", "small", "--size", "96x96", "--store", str(store), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", said)
        assert main(argv, more=COMMANDS) == 0
    return store, json.loads(said.getvalue())


@pytest.fixture(scope="module")
def api(imported: tuple[Path, dict[str, Any]]) -> Iterator[Caller]:
    store, _ = imported
    with Caller(create_app(Settings(model_store=store, default_model="small", threads=1))) as caller:
        yield caller


def png(number: int, size: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    """A drawn picture that training never saw, as a file and as its levels (H, W, 3)."""
    levels = (drawn(UNSEEN + number, (3, *size)) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "PNG")
    return out.getvalue(), levels


def levels_of(body: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(body)) as picture:
        return np.asarray(picture.convert("RGB"))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(np.float64) - other.astype(np.float64)).mean()
    return 10.0 * math.log10(255.0**2 / error)


def test_the_import_has_no_warning_and_finds_size_range_and_reach(
    imported: tuple[Path, dict[str, Any]],
) -> None:
    store, document = imported
    assert [check for check in document["checks"] if check["result"] != "ok"] == []
    manifest = ModelStore(store).manifest("small")
    assert manifest.image.range == (-1.0, 1.0)
    assert manifest.image.sizes is not None
    assert manifest.image.sizes.multiple == 4
    assert manifest.latent is not None
    assert manifest.latent.shape == (4, 24, 24)
    assert manifest.latent.scaling_factor is not None
    # Convolutions alone: 3 at the size of the latents, 3 at twice it, 4 at that of the image.
    assert manifest.latent.decoder_reach is not None
    assert 1 <= manifest.latent.decoder_reach <= 6


@pytest.mark.parametrize("size", LEAST_DB)
def test_a_picture_survives_its_latents(api: Caller, size: tuple[int, int]) -> None:
    quality = []
    for number in range(PICTURES):
        body, levels = png(number, size)
        encoded = api.post("/encode.npz", body, content_type="image/png")
        assert encoded.status == 200, encoded.body[:300]
        with np.load(io.BytesIO(encoded.body)) as file:
            mu = file["mu"]
        assert mu.shape == (1, 4, size[0] // 4, size[1] // 4)
        out = io.BytesIO()
        np.save(out, mu)
        decoded = api.post("/decode.png", out.getvalue(), content_type="application/x-npy")
        assert decoded.status == 200, decoded.body[:300]
        back = levels_of(decoded.body)
        assert back.shape == levels.shape
        quality.append(decibels(back, levels))
        other = api.post("/reconstruct.png", body, content_type="image/png")
        assert np.abs(levels_of(other.body).astype(int) - back).max() <= 1
    assert np.mean(quality) >= LEAST_DB[size], quality


def test_latents_vary_with_a_deviation_that_the_scaling_factor_undoes(
    api: Caller, imported: tuple[Path, dict[str, Any]]
) -> None:
    """Diffusion models expect stored latents of unit variance."""
    latent = ModelStore(imported[0]).manifest("small").latent
    assert latent is not None
    found = []
    for number in range(PICTURES):
        body, _ = png(number, (96, 96))
        with np.load(io.BytesIO(api.post("/encode.npz", body, content_type="image/png").body)) as file:
            found.append(file["mu"] * latent.scaling_factor)
    assert np.std(found) == pytest.approx(1.0, rel=0.25)
