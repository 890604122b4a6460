"""An operation is one module: what it says about itself is all that the server and the document need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import Document, assert_documented, defects

from service.api.answer import Answer, PerImage, SeedFact
from service.api.call import Call
from service.api.native.table import OPERATIONS
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import ImagesQuery, Seed
from service.api.request_arrays import IMAGES
from service.app import create_app
from service.http.parameters import Parameters
from service.settings import Settings


class BrightnessParameters(Parameters):
    """How bright."""

    seed: Seed = None
    """Any number."""


class BrightnessQuery(ImagesQuery, BrightnessParameters):
    """Query of /brightness."""


class BrightnessAnswer(Answer):
    """One number for each image."""

    seed: SeedFact
    """What was sent."""
    mean: PerImage
    """Mean pixel."""


BRIGHTNESS = Operation(
    path="/brightness",
    summary="How bright each image is",
    description="The mean of its pixels.",
    query=BrightnessQuery,
    body=BrightnessParameters,
    answer=BrightnessAnswer,
    bodies=IMAGE_BODIES,
    arrays=(IMAGES,),
    problems=("no-density",),
    example={"seed": 3},
)


@BRIGHTNESS.handler
async def brightness(call: Call[BrightnessQuery]) -> BrightnessAnswer:
    x = call.arrays["images"]
    return BrightnessAnswer(
        model=call.model.label,
        seed=call.parameters.seed or 0,
        mean=x.reshape(len(x), -1).mean(axis=1).astype(np.float64),
    )


@pytest.fixture(scope="module")
def with_one_more(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1)
    with Caller(create_app(settings, operations=(*OPERATIONS, BRIGHTNESS))) as api:
        yield api


@pytest.fixture(scope="module")
def document(with_one_more: Caller) -> Document:
    loaded: Document = with_one_more.get("/openapi.json").json()
    return loaded


def test_operation_answers_in_every_format_that_its_answer_has(with_one_more: Caller) -> None:
    images = {"images": np.full((2, 28, 28), 0.25).tolist(), "seed": 5}
    answer = with_one_more.post_json("/brightness", images)
    assert answer.json() == {"model": "mnist@1", "seed": 5, "mean": [0.25, 0.25]}
    assert (answer.headers["x-seed"], answer.headers["x-model"]) == ("5", "mnist@1")
    table = with_one_more.post_json("/brightness.txt", images).body.decode().splitlines()
    assert [line.split() for line in table] == [["image", "mean"], ["0", "0.250"], ["1", "0.250"]]
    refused = with_one_more.post_json("/brightness.png", images)
    assert (refused.status, refused.code) == (406, "form-not-available")


def test_skeleton_reads_parameters_from_either_place_and_refuses_both(with_one_more: Caller) -> None:
    images = {"images": np.zeros((1, 28, 28)).tolist()}
    assert with_one_more.post_json("/brightness?seed=5", images).json()["seed"] == 5
    twice = with_one_more.post_json("/brightness?seed=5", {**images, "seed": 5})
    assert (twice.status, twice.code) == (422, "invalid-parameter")
    assert twice.json()["errors"][0]["where"] == "query: seed"
    assert with_one_more.post_json("/brightness", {**images, "sed": 5}).code == "invalid-value"
    assert with_one_more.get("/brightness").status == 405


def test_document_describes_it_without_knowing_it(with_one_more: Caller, document: Document) -> None:
    described = document["paths"]["/brightness"]["post"]
    assert described["operationId"] == "brightness_post"
    assert {"X-Seed", "X-Model"} <= set(described["responses"]["200"]["headers"])
    assert "`no-density`" in _text_of(document, described["responses"]["422"])
    body = described["requestBody"]["content"]["application/json"]
    assert body["example"]["seed"] == 3
    assert defects(document, body["schema"], body["example"]) == []
    answer = with_one_more.post_json("/brightness", body["example"])
    assert_documented(document, "POST", "/brightness", answer)
    assert list(document["paths"]["/brightness.{suffix}"]) == ["post"]


def test_other_paths_are_described_as_before(api: Caller, document: Document) -> None:
    before = api.get("/openapi.json").json()
    added = {"/brightness", "/brightness.{suffix}"}
    assert set(document["paths"]) - set(before["paths"]) == added


def _text_of(document: Document, response: dict[str, Any]) -> str:
    name = response["$ref"].rpartition("/")[2]
    text: str = document["components"]["responses"][name]["description"]
    return text
