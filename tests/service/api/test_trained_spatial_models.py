"""A trained version with latents (c, h, w) is served on every path that a trained version has."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from pydantic import ValidationError
from tiny_learned import TinyLearnedPrior
from tiny_models import OPSET
from tiny_spatial import IMAGE_SHAPE, LATENT_SHAPE, publish_spatial, spatial_draft, tiny_spatial

from model_store import ModelStore
from model_store.imported import LatentSpec
from model_store.tensor_spec import graph_specs
from service.app import create_app
from service.engine.operations.noise import standard_normal
from service.settings import Settings

MODEL = tiny_spatial()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = ModelStore(tmp_path_factory.mktemp("spatial") / "store")
    publish_spatial(store)
    settings = Settings(model_store=store.root, default_model="spatial", threads=1)
    with Caller(create_app(settings)) as caller:
        yield caller


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(4).random((count, *IMAGE_SHAPE), dtype=np.float32)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def arrays(answer: Answer) -> np.ndarray:
    assert answer.status == 200, answer.body[:500]
    found: np.ndarray = np.load(io.BytesIO(answer.body))
    return found


def test_encode_returns_latents_in_their_shape_and_decode_takes_them(api: Caller) -> None:
    x = pictures(3)
    answer = api.post("/encode.npz", npy(x), content_type="application/x-npy")
    assert answer.status == 200, answer.body[:300]
    with np.load(io.BytesIO(answer.body)) as file:
        found = dict(file)
    mu, logvar = MODEL.encode(x)
    np.testing.assert_allclose(found["mu"], mu.reshape(3, *LATENT_SHAPE), atol=1e-5)
    np.testing.assert_allclose(found["logvar"], logvar.reshape(3, *LATENT_SHAPE), atol=1e-5)
    for z in (found["mu"], found["mu"].reshape(3, -1)):
        images = arrays(api.post("/decode.npy", npy(z), content_type="application/x-npy"))
        np.testing.assert_allclose(images, MODEL.decode(mu), atol=1e-5)


def test_samples_are_decoded_from_the_noise_that_a_flat_version_would_draw(api: Caller) -> None:
    """N(0, I) is the prior of its training, and the shape only arranges the numbers of a row."""
    answer = api.post_json("/sample", {"n": 2, "seed": 5})
    assert answer.headers["x-prior"] == "standard"
    z = standard_normal(seed=5, first_row=0, rows=2, size=MODEL.latent_size)
    np.testing.assert_allclose(answer.json()["images"], MODEL.decode(z), atol=1e-5)


def test_score_measures_the_bound_of_the_likelihood(api: Caller) -> None:
    x = (pictures(2) > 0.5).astype(np.float32)
    answer = api.post_json("/score", {"images": x.tolist(), "seed": 3}).json()
    mu, logvar = (each.astype(np.float64) for each in MODEL.encode(x))
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1.0 - logvar).sum(axis=1)
    np.testing.assert_allclose(answer["kl"], kl, rtol=1e-4)


@pytest.mark.parametrize("path", ["/reconstruct", "/interpolate"])
def test_images_lead_to_images(api: Caller, path: str) -> None:
    images = api.post_json(path, {"images": pictures(2).tolist()}).json()["images"]
    assert np.array(images).shape[1:] == IMAGE_SHAPE


def test_a_picture_of_the_own_size_goes_in_and_out(api: Caller) -> None:
    shown = api.get("/sample.png?seed=1")
    assert shown.status == 200
    back = api.post("/reconstruct.png", shown.body, content_type="image/png")
    assert (back.status, back.body[:4]) == (200, b"\x89PNG")


def test_the_list_of_models_states_the_shape_of_its_latents(api: Caller) -> None:
    stated = api.get("/models/spatial").json()
    assert (stated["latent_size"], stated["latent_shape"]) == (MODEL.latent_size, list(LATENT_SHAPE))
    assert "imported" not in stated


FLAT_GRAPHS = graph_specs(image_shape=IMAGE_SHAPE, latent_size=MODEL.latent_size, opset=OPSET)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"latent": LatentSpec(shape=(4, 6))}, r"latent.shape: expected \(c, h, w\)"),
        ({"latent": LatentSpec(shape=(2, 4, 4))}, "latent_size: expected 32, the product of latent.shape"),
        ({"latent": LatentSpec(shape=LATENT_SHAPE, scaling_factor=0.5)}, "expected only a shape"),
        ({"encoder": FLAT_GRAPHS[0]}, r"encoder.outputs: expected .*'batch', 2, 4, 3"),
        ({"decoder": FLAT_GRAPHS[1]}, r"decoder.inputs: expected .*'batch', 2, 4, 3"),
        ({"schema_version": 1}, "schema_version: expected 5"),
    ],
)
def test_a_manifest_whose_latent_contradicts_itself_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        spatial_draft(MODEL, **changes)


def test_a_learned_prior_needs_flat_latents() -> None:
    learned = TinyLearnedPrior(latent_size=MODEL.latent_size)
    with pytest.raises(ValidationError, match=r"expected no 'learned' with a latent.shape"):
        spatial_draft(MODEL).with_learned_prior(learned.entry)
