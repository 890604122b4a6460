"""/score over HTTP: figures in every form, the same by every way in, and refusals with their reason."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from direct import directly, load
from http_calls import Answer, Caller
from linear_gaussian import LinearGaussian, orthogonal
from numpy.typing import NDArray
from PIL import Image

from model_store import ModelStore
from service.app import create_app
from service.engine import LoadedModel, score
from service.settings import Settings

Floats = NDArray[np.float32]
FIGURES = ["reconstruction_nll", "kl", "elbo", "bits_per_dim"]


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def images() -> Floats:
    return np.random.default_rng(5).random((3, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module")
def engine(tiny_store: Path) -> LoadedModel:
    """The model behind `mnist`, without a server."""
    return load(ModelStore(tiny_store).open("mnist@1"))


def test_scores_are_those_of_the_engine(api: Caller, engine: LoadedModel, images: Floats) -> None:
    answer = api.post("/score?importance_samples=20&seed=7", npy(images), "application/x-npy")
    document = answer.json()
    facts = ["model", "seed", "likelihood", "binarise", "importance_samples"]
    assert list(document) == [*facts, *FIGURES, "log_px", "bits_per_dim_iw"]
    assert [document[name] for name in facts] == ["mnist@1", 7, "bernoulli", "dynamic", 20]
    assert (answer.headers["x-seed"], answer.headers["x-model"]) == ("7", "mnist@1")
    expected = directly(score, engine, images, seed=7, importance_samples=20)
    for name in ("reconstruction_nll", "kl", "elbo", "log_px"):
        assert document[name] == getattr(expected, name).tolist()
    np.testing.assert_allclose(document["bits_per_dim"], -expected.elbo / (784 * np.log(2)))
    np.testing.assert_allclose(document["bits_per_dim_iw"], -expected.log_px / (784 * np.log(2)))


def test_without_importance_samples_there_is_the_bound_alone(api: Caller, images: Floats) -> None:
    answer = api.post("/score", npy(images), "application/x-npy")
    document = answer.json()
    assert document["importance_samples"] is None
    assert list(document)[-4:] == FIGURES
    assert answer.headers["x-seed"] == str(document["seed"])
    again = api.post(f"/score?seed={document['seed']}", npy(images), "application/x-npy")
    assert again.body == answer.body


def test_npz_holds_the_same_figures_in_float64(api: Caller, images: Floats) -> None:
    body, query = npy(images), "?importance_samples=3&seed=1"
    document = api.post(f"/score{query}", body, "application/x-npy").json()
    arrays = dict(np.load(io.BytesIO(api.post(f"/score.npz{query}", body, "application/x-npy").body)))
    assert set(arrays) == {*FIGURES, "log_px", "bits_per_dim_iw", "seed", "importance_samples"}
    for name in (*FIGURES, "log_px", "bits_per_dim_iw"):
        assert arrays[name].dtype == np.float64
        assert arrays[name].tolist() == document[name]


def test_text_is_a_table_with_a_line_for_each_image(api: Caller, images: Floats) -> None:
    body, query = npy(images), "?importance_samples=3&seed=1"
    answer = api.post(f"/score.txt{query}", body, "application/x-npy")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    names, *lines = [line.split() for line in answer.body.decode().splitlines()]
    assert names == ["image", *FIGURES, "log_px", "bits_per_dim_iw"]
    document = api.post(f"/score{query}", body, "application/x-npy").json()
    for i, line in enumerate(lines):
        assert line == [str(i), *(f"{document[name][i]:.3f}" for name in names[1:])]
    assert len(set(map(len, answer.body.decode().splitlines()))) == 1, "numbers stand under one another"


@pytest.mark.parametrize("suffix", ["png", "npy", "gif"])
def test_there_is_no_picture_of_a_score(api: Caller, images: Floats, suffix: str) -> None:
    answer = api.post(f"/score.{suffix}", npy(images), "application/x-npy")
    assert (answer.status, answer.code) == (406, "form-not-available")
    assert ".npz" in answer.json()["detail"]


def test_every_way_in_gives_the_same_figures(api: Caller) -> None:
    levels = (np.arange(784) % 256).astype(np.uint8).reshape(1, 28, 28)
    buffer = io.BytesIO()
    Image.fromarray(levels[0]).save(buffer, format="PNG")
    pixels = (levels / np.float32(255)).tolist()
    answers: list[Answer] = [
        api.post("/score?seed=3&importance_samples=2", npy(levels), "application/x-npy"),
        api.post("/score?seed=3&importance_samples=2", buffer.getvalue(), "image/png"),
        api.post_json("/score", {"images": pixels, "seed": 3, "importance_samples": 2}),
        api.post_json("/score?seed=3", {"images": pixels, "importance_samples": 2, "binarise": "dynamic"}),
    ]
    assert answers[0].status == 200
    assert len({answer.body for answer in answers}) == 1


def test_image_has_the_same_figures_in_any_company(api: Caller) -> None:
    rng = np.random.default_rng(2)
    x = rng.random((40, 1, 28, 28), dtype=np.float32)
    whole = api.post("/score?seed=5&importance_samples=9", npy(x), "application/x-npy").json()
    for count in (1, 2, 17):
        part = api.post("/score?seed=5&importance_samples=9", npy(x[:count]), "application/x-npy").json()
        for name in (*FIGURES, "log_px"):
            assert part[name] == whole[name][:count]


def test_concurrent_requests_get_what_each_would_get_alone(api: Caller) -> None:
    rng = np.random.default_rng(4)
    bodies = [npy(rng.random((count, 1, 28, 28), dtype=np.float32)) for count in (1, 3, 1, 12, 5)]

    async def ask(body: bytes) -> Answer:
        headers = {"content-type": "application/x-npy"}
        return await api.acall("POST", "/score?seed=1&importance_samples=30", body=body, headers=headers)

    async def together() -> list[Answer]:
        return await asyncio.gather(*map(ask, bodies))

    for answer, body in zip(api.run(together()), bodies, strict=True):
        alone = api.post("/score?seed=1&importance_samples=30", body, "application/x-npy")
        assert (answer.status, answer.body) == (200, alone.body)


def test_grey_pixels_are_refused_where_they_are_not_to_be_drawn(api: Caller, images: Floats) -> None:
    refused = api.post("/score?binarise=none", npy(images), "application/x-npy")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "a Bernoulli likelihood applies to binary images" in refused.json()["detail"]
    binary = (images > 0.5).astype(np.float32)
    answers = [
        api.post(f"/score?seed=1{more}", npy(binary), "application/x-npy").json()
        for more in ("", "&binarise=none")
    ]
    assert [answer.pop("binarise") for answer in answers] == ["dynamic", "none"]
    assert answers[0] == answers[1]


def test_autoencoder_is_refused_with_the_reason(api: Caller, images: Floats) -> None:
    refused = api.post("/score?model=plain", npy(images), "application/x-npy")
    assert (refused.status, refused.code) == (422, "no-density")
    assert "which has no distribution over z" in refused.json()["detail"]


def test_draws_of_all_images_together_are_bounded(tiny_store: Path, images: Floats) -> None:
    with Caller(create_app(Settings(model_store=tiny_store, threads=1, max_score_draws=30))) as api:
        ask = "/score?importance_samples="
        assert api.post(f"{ask}10", npy(images), "application/x-npy").status == 200
        refused = api.post(f"{ask}11", npy(images), "application/x-npy")
        assert (refused.status, refused.code) == (422, "invalid-parameter")
        assert (
            "at most 30 draws for all images together, which is 10 for each of 3"
            in (refused.json()["detail"])
        )
        assert api.post(f"{ask}30", npy(images[:1]), "application/x-npy").status == 200
        refused = api.post(f"{ask}31", npy(images[:1]), "application/x-npy")
        assert refused.json()["errors"][0]["where"] == "query: importance_samples"


def test_gaussian_likelihood_scores_grey_images_by_its_exact_density(tmp_path: Path) -> None:
    model = LinearGaussian(orthogonal())
    model.publish(ModelStore(tmp_path))
    x = np.random.default_rng(1).random((4, 1, 3, 4), dtype=np.float32)
    with Caller(create_app(Settings(model_store=tmp_path, default_model="tiny", threads=1))) as api:
        document = api.post("/score?importance_samples=5", npy(x), "application/x-npy").json()
        assert (document["likelihood"], document["binarise"]) == ("gaussian", "none")
        np.testing.assert_allclose(document["log_px"], model.log_px(x.astype(np.float64)), atol=2e-4)
        refused = api.post("/score?binarise=dynamic", npy(x), "application/x-npy")
        assert (refused.status, refused.code) == (422, "invalid-parameter")
        assert "whose likelihood is Gaussian" in refused.json()["detail"]
