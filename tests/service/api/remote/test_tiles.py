"""/remote/decode in tiles: the whole image where the reach is bounded, `approximate` elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from http_calls import Answer, Caller
from open_decoders import CHANNELS, FACTOR, Kind, decoded_whole, import_decoder, open_decoder

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

#: Of this server: one run of 320 × 320 pixels, and 640 × 480 in tiles.
RUN_PIXELS, VALUES = 320 * 320, 3 * 640 * 480
KINDS = {kind.value: open_decoder(kind) for kind in Kind}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles") / "store"
    for name, decoder in KINDS.items():
        import_decoder(folder, decoder, name=name, options=("--size", "64x64", "--most", "320"))
    return folder


@pytest.fixture(scope="module")
def api(store: Path) -> Iterator[Caller]:
    settings = Settings(
        model_store=store, default_model="bounded", threads=2, max_run_pixels=RUN_PIXELS, max_values=VALUES
    )
    with Caller(create_app(settings)) as caller:
        yield caller


def latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def decode(api: Caller, z: np.ndarray, **query: object) -> Answer:
    stated = {"output_type": "pil", "model": "bounded", **query}
    text = urlencode({**stated, "shape": list(z.shape), "dtype": "float32"}, doseq=True)
    headers = {"accept": "tensor/binary"}
    return api.post(f"/remote/decode?{text}", z.tobytes(), content_type="tensor/binary", headers=headers)


def pixels(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body[:600]
    return np.frombuffer(answer.body, "<f4").reshape(json.loads(answer.headers["shape"]))


def test_the_import_measures_a_halo_only_where_tiles_are_the_whole(store: Path) -> None:
    halos = {}
    for name in KINDS:
        latent = ModelStore(store).manifest(name).latent
        assert latent is not None
        halos[name] = (latent.decoder_reach, latent.decoder_halo)
    reach, halo = halos["bounded"]
    assert reach is not None
    assert halo is not None
    assert 1 < halo <= reach < 20
    assert halos["norm"] == halos["attention"] == (None, None)
    assert halos["positions"] == (reach, None), "a bounded reach alone does not make tiles exact"


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(40, 40), (41, 40), (29, 60), (60, 19), (33, 51), (59, 80), (8, 80), (80, 60), (1, 80)],
)
def test_exact_tiles_are_the_whole_image(api: Caller, rows: int, columns: int) -> None:
    """Beyond one run's bound: wide, high, odd, narrower than a halo, and as large as may be."""
    z = latents(1, CHANNELS, rows, columns)
    answer = decode(api, z)
    is_large = rows * columns * FACTOR**2 > RUN_PIXELS or max(rows, columns) * FACTOR > 320
    assert answer.headers.get("x-tiled") == ("exact" if is_large else None)
    whole = decoded_whole(KINDS["bounded"], z)
    assert np.abs(pixels(answer) - whole).max() <= 1e-5
    again = decode(api, z, tile="exact")
    assert again.headers["x-tiled"] == "exact"
    if is_large:
        assert again.body == answer.body, "the same grid for the same size"


def test_tiles_that_are_asked_for_below_the_bound_are_the_whole_image(api: Caller) -> None:
    z = latents(1, CHANNELS, 20, 20)
    assert "x-tiled" not in decode(api, z).headers
    answer = decode(api, z, tile="exact")
    whole = decoded_whole(KINDS["bounded"], z)
    assert np.abs(pixels(answer) - whole).max() <= 1e-5


def test_rows_do_not_depend_on_each_other(api: Caller) -> None:
    z = latents(2, CHANNELS, 41, 47)
    together = pixels(decode(api, z))
    for row in range(2):
        np.testing.assert_array_equal(together[row : row + 1], pixels(decode(api, z[row : row + 1])))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("norm", "up to the border"), ("attention", "up to the border"), ("positions", "no tiles that equal")],
)
def test_exact_is_refused_where_no_tiles_are_the_whole(api: Caller, name: str, reason: str) -> None:
    answer = decode(api, latents(1, CHANNELS, 10, 10), model=name, tile="exact")
    assert (answer.status, answer.code) == (422, "invalid-parameter")
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize("name", ["norm", "attention", "positions"])
def test_auto_says_that_tiles_are_approximate_and_only_beyond_the_bound(api: Caller, name: str) -> None:
    small = latents(1, CHANNELS, 12, 20)
    answer = decode(api, small, model=name)
    assert "x-tiled" not in answer.headers
    np.testing.assert_allclose(pixels(answer), decoded_whole(KINDS[name], small), atol=1e-6)
    large = latents(1, CHANNELS, 45, 60)
    answer = decode(api, large, model=name)
    assert answer.headers["x-tiled"] == "approximate"
    whole = decoded_whole(KINDS[name], large)
    apart = np.abs(pixels(answer) - whole)
    assert apart.max() > 1e-5
    assert apart.mean() < 0.1, "an image of the same scene, without a gap"


@pytest.mark.parametrize("name", ["bounded", "norm"])
def test_off_is_one_run_or_refused(api: Caller, name: str) -> None:
    small = latents(1, CHANNELS, 20, 20)
    answer = decode(api, small, model=name, tile="off")
    assert "x-tiled" not in answer.headers
    np.testing.assert_allclose(pixels(answer), decoded_whole(KINDS[name], small), atol=1e-6)
    refused = decode(api, latents(1, CHANNELS, 41, 40), model=name, tile="off")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert str(RUN_PIXELS) in refused.json()["detail"]


@pytest.mark.parametrize("shape", [(1, CHANNELS, 60, 81), (2, CHANNELS, 60, 60), (1, CHANNELS, 1, 1025)])
def test_more_than_tiles_may_have_is_refused_before_a_run(api: Caller, shape: tuple[int, ...]) -> None:
    answer = decode(api, latents(*shape))
    assert (answer.status, answer.code) == (422, "invalid-value")
    assert str(VALUES) in answer.json()["detail"]


def test_a_word_that_is_none_of_the_three_is_refused(api: Caller) -> None:
    answer = decode(api, latents(1, CHANNELS, 8, 8), tile="perhaps")
    assert (answer.status, answer.code) == (422, "invalid-parameter")
    assert "auto, exact, off" in answer.json()["detail"]


def test_a_picture_of_tiles_has_no_seam(api: Caller) -> None:
    """uint8 levels of even latents: one colour, whichever tile a pixel is from."""
    z = np.full((1, CHANNELS, 60, 60), 0.3, np.float32)
    answer = decode(api, z, output_type="pt", partial_postprocess=True)
    assert answer.headers["x-tiled"] == "exact"
    levels = np.frombuffer(answer.body, np.uint8).reshape(480, 480, 3)
    inner = levels[80:400, 80:400].reshape(40, 8, 40, 8, 3)
    assert (np.ptp(inner.astype(int), axis=(0, 2)) <= 1).all()
