"""A version with a learned prior over HTTP: every form says what it drew from, and /models describes it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import assert_documented
from tiny_learned import LABELS, SHARES, TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

LATENT = 8


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """`mnist` with a learned prior, `bare` with the standard one."""
    root: Path = tmp_path_factory.mktemp("learned") / "models"
    store = ModelStore(root)
    tiny = TinyModel.make(latent_size=LATENT, seed=0)
    publish_tiny(store, name="mnist", model=tiny, learned=TinyLearnedPrior(LATENT))
    publish_tiny(store, name="bare", model=tiny)
    settings = Settings(model_store=root, threads=1, max_images=64, max_stream_images=1000)
    with Caller(create_app(settings)) as caller:
        yield caller


def test_every_form_says_that_the_prior_is_learned(learned: Caller) -> None:
    for form in ("json", "png", "npy", "npz", "txt"):
        answer = learned.get(f"/sample.{form}?n=2&seed=3&label=shoes")
        headers = answer.headers
        assert (answer.status, headers["x-prior"], headers["x-label"]) == (200, "learned", "shoes")
    body = learned.get("/sample?n=2&seed=3").json()
    assert (body["prior"], body["label"]) == ("learned", None)


def test_a_long_draw_in_parts_equals_a_short_one(learned: Caller) -> None:
    long, short = (np.load(io.BytesIO(learned.get(f"/sample.npy?n={n}&seed=3").body)) for n in (200, 64))
    assert long[:64].tobytes() == short.tobytes()


def test_the_standard_prior_is_refused_with_the_reason(learned: Caller) -> None:
    answer = learned.get("/sample?prior=standard")
    assert (answer.status, answer.json()["code"]) == (422, "no-prior")
    assert "The version was trained with its learned prior in place of N(0, I)" in answer.json()["detail"]
    refused = learned.get("/sample?model=bare&prior=learned")
    assert (refused.status, refused.json()["code"]) == (422, "no-prior")


def test_models_describe_the_prior_where_there_is_one(learned: Caller) -> None:
    answer = learned.get("/models/mnist")
    assert_documented(learned.get("/openapi.json").json(), "GET", "/models/{name}", answer)
    facts: Any = answer.json()
    assert (facts["priors"], facts["labels"], facts["fitted_prior"]) == (["learned"], list(LABELS), None)
    assert facts["learned_prior"]["components"] == 2
    assert [each["share"] for each in facts["learned_prior"]["labels"]] == list(SHARES)
    assert "learned_prior" not in learned.get("/models/bare").json()


def test_scores_differ_from_those_under_the_standard_prior(learned: Caller) -> None:
    """The same graphs, images and noise: only log p(z) differs."""
    image = (np.random.default_rng(0).random((1, 1, 28, 28)) < 0.3).astype(float).tolist()
    by_learned, by_standard = (
        learned.post_json(
            f"/score?model={name}", {"images": image, "seed": 1, "importance_samples": 2}
        ).json()
        for name in ("mnist", "bare")
    )
    assert by_learned["reconstruction_nll"] == by_standard["reconstruction_nll"]
    assert by_learned["kl"] != by_standard["kl"]
    assert by_learned["log_px"] != by_standard["log_px"]


def test_the_sampler_of_the_open_inference_protocol_draws_the_same(learned: Caller) -> None:
    request = {"inputs": [{"name": "seed", "shape": [2], "datatype": "INT64", "data": [3, 4]}]}
    outputs = learned.post_json("/v2/models/mnist-sampler/infer", request).json()["outputs"]
    by_name = {each["name"]: each for each in outputs}
    for row, seed in enumerate((3, 4)):
        native = learned.get(f"/sample?seed={seed}").json()
        size = len(by_name["z"]["data"]) // 2
        np.testing.assert_array_equal(by_name["z"]["data"][row * size : (row + 1) * size], native["z"][0])
