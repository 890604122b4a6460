"""Versions with large images over HTTP: what fits is answered, the rest is refused before it costs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from large_models import latent_size, publish_large
from PIL import Image
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

SIDE = 256
VALUES = 3 * SIDE * SIDE
NPY = "application/x-npy"
#: The largest legal image, and others of every proportion: (C, H, W).
SHAPES = ((1, 1, 1), (1, 1024, 1), (3, 600, 1024), (1, 1024, 1024))


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large") / "models"
    publish_large(ModelStore(root), name="large", side=SIDE, width=2)
    publish_tiny(ModelStore(root), name="mnist", aliases=("stable",))
    return root


def settings(store: Path, **options: object) -> Settings:
    return Settings(model_store=store, threads=1, **{"default_model": "large", **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def api(large_store: Path) -> Iterator[Caller]:
    """Five images, and two of them as JSON."""
    with Caller(
        create_app(settings(large_store, max_values=5 * VALUES, max_json_values=2 * VALUES))
    ) as caller:
        yield caller


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png(shape: tuple[int, int, int], mode: str | None = None, *, deep: bool = False) -> bytes:
    """Noise, which no PNG compresses, of a model's own size."""
    channels, height, width = shape
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    picture = Image.fromarray(noise[:, :, 0] if channels == 1 else noise)
    if deep:
        picture = Image.fromarray((noise[:, :, 0].astype(np.uint16) << 8) | 1)
    out = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.mark.hazard_row("own-size")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_png_of_the_models_own_size_is_read_for_every_legal_shape(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    """With the default settings, and with bounds on pixels that are lower than the model's image."""
    model = TinyModel.make(image_shape=shape, latent_size=1)
    publish_tiny(ModelStore(tmp_path), name="large", model=model, golden=model.golden(images=1, latents=1))
    bodies = {"default": [png(shape)], "low": [png(shape), png(shape, "RGBA"), png(shape, deep=True)]}
    low = {"max_picture_pixels": 1024, "max_png_pixels": 1024, "max_values": 1}
    for bounds, options in (("default", {}), ("low", low)):
        with Caller(create_app(settings(tmp_path, **options))) as api:
            for body in bodies[bounds]:
                answer = api.post("/encode", body, "image/png")
                assert answer.status == 200, answer.body[:300]
            drawn = api.get("/sample.png?seed=1")
            assert drawn.status == 200, drawn.body[:300]
            with Image.open(io.BytesIO(drawn.body)) as picture:
                assert picture.size == shape[:0:-1]


def test_bounds_on_pixels_still_hold_for_other_sizes(large_store: Path) -> None:
    with Caller(create_app(settings(large_store, max_picture_pixels=SIDE * SIDE - 1))) as api:
        refused = api.post("/encode?resize=true", png((1, SIDE + 1, SIDE)), "image/png")
        assert (refused.status, refused.code) == (422, "invalid-value")
        assert f"at most {SIDE * SIDE} pixels" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/encode.npz", "/reconstruct.npy", "/score"])
def test_images_of_a_request_are_bounded_by_their_values(api: Caller, path: str) -> None:
    body = {count: npy(np.full((count, 3, SIDE, SIDE), 7, np.uint8)) for count in (5, 6)}
    assert api.post(path, body[5], NPY).status == 200
    refused = api.post(path, body[6], NPY)
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "1 to 5 entries" in refused.json()["detail"]


def test_small_images_are_bounded_by_their_number(api: Caller) -> None:
    assert api.post("/encode?model=mnist", npy(np.zeros((256, 28, 28), np.uint8)), NPY).status == 200


def test_pictures_of_a_request_are_bounded_by_their_values(api: Caller) -> None:
    files = "".join(
        f'--b\r\nContent-Disposition: form-data; name="images"; filename="{at}.png"\r\n\r\nPICTURE\r\n'
        for at in range(6)
    )
    body = (files + "--b--\r\n").encode().replace(b"PICTURE", png((1, 1, 1)))
    refused = api.post("/encode?resize=true", body, "multipart/form-data; boundary=b")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "at most 5 pictures" in refused.json()["detail"]


def test_json_holds_fewer_images_than_npy(api: Caller) -> None:
    assert api.get("/sample?n=2").status == 200
    refused = api.get("/sample?n=3")
    assert (refused.status, refused.code) == (422, "invalid-parameter")
    assert "at most 2 in this form" in refused.json()["detail"]
    assert api.get("/sample.npy?n=5").status == 200
    for path in ("/interpolate", "/reconstruct"):
        images = npy(np.zeros((2, 3, SIDE, SIDE), np.uint8))
        query = "?steps=3" if path == "/interpolate" else ""
        wanted = (422, "invalid-parameter") if query else (200, None)
        answer = api.post(path + query, images, NPY)
        assert (answer.status, answer.code) == wanted, answer.body[:300]
    assert api.post("/interpolate.npy?steps=3", images, NPY).status == 200


def test_numbers_of_a_json_body_are_bounded(api: Caller) -> None:
    image = "[" + ",".join(["[" + ",".join(["[" + ",".join(["0"] * SIDE) + "]"] * SIDE) + "]"] * 3) + "]"
    for count, status in ((2, 200), (3, 422)):
        body = ('{"images": [' + ",".join([image] * count) + "]}").encode()
        answer = api.post("/encode.npz", body)
        assert answer.status == status, answer.body[:300]
    assert answer.code == "invalid-value"


def test_what_does_not_fit_npy_is_sent_part_by_part(api: Caller) -> None:
    answer = api.get("/sample.npy?n=7&seed=3")
    assert answer.status == 200
    images = np.load(io.BytesIO(answer.body))
    assert images.shape == (7, 3, SIDE, SIDE)
    first = np.load(io.BytesIO(api.get("/sample.npy?n=2&seed=3").body))
    np.testing.assert_array_equal(images[:2], first)
    z = np.zeros((7, latent_size(SIDE)), np.float32)
    assert np.load(io.BytesIO(api.post("/decode.npy", npy(z), NPY).body)).shape == images.shape


def test_a_response_in_parts_is_bounded_by_its_values(large_store: Path) -> None:
    with Caller(create_app(settings(large_store, max_values=1, max_stream_values=3 * VALUES))) as api:
        assert api.get("/sample.npy?n=3").status == 200
        refused = api.get("/sample.npy?n=4")
        assert (refused.status, refused.code) == (422, "invalid-value")
        assert "an integer from 1 to 3" in refused.json()["detail"]


def test_a_picture_that_would_be_refused_is_refused_before_a_model_runs(large_store: Path) -> None:
    with Caller(create_app(settings(large_store, max_png_pixels=SIDE * SIDE * 4))) as api:
        before = runs(api)
        for target in ("/sample.png?n=6", "/sample.jpg?n=8", "/traverse.webp?steps=4"):
            refused = api.get(target)
            assert (refused.status, refused.code) == (422, "invalid-value"), target
        assert runs(api) == before
        assert api.get("/sample.png?n=2").status == 200
        assert runs(api) > before


def runs(api: Caller) -> int:
    """Runs of the decoder since the start."""
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in api.get("/metrics").body.decode().splitlines()
        if line.startswith("vae_model_runs_total") and "decoder" in line
    )


def test_defaults_of_a_path_fit_the_model_and_the_format(api: Caller) -> None:
    assert np.load(io.BytesIO(api.get("/traverse.npy").body)).shape[0] == 4
    images = npy(np.zeros((2, 3, SIDE, SIDE), np.uint8))
    assert np.load(io.BytesIO(api.post("/interpolate.npy", images, NPY).body)).shape[0] == 5


def test_open_inference_states_the_bound_of_the_model(api: Caller) -> None:
    config = api.get("/v2/models/large-decoder/config")
    assert config.json()["max_batch_size"] == 5


def test_text_of_a_large_image_fills_a_terminal(api: Caller) -> None:
    """14 × 7 cells of an image of 512 px show nothing."""
    lines = api.get("/sample.txt?n=1&seed=1").body.decode().splitlines()
    assert {len(line) for line in lines} == {80}
    assert len(lines) == 40
