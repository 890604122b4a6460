"""An operation is one module: what it says about itself is all that the server and the document need."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import Document, assert_documented, content_of, defects, resolve

from service.api.answer import Answer, PerImage, SeedFact
from service.api.call import Call
from service.api.limit import FixedLimit
from service.api.native.table import OPERATIONS
from service.api.operation import IMAGE_BODIES, Operation
from service.api.parameters import ImagesQuery, Seed
from service.api.request_arrays import IMAGES, ArrayIn, Z
from service.app import create_app
from service.http.parameters import Parameters
from service.http.request_body import BodyKind
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


GALLERY = ArrayIn(
    name="gallery",
    axes="(M, latent)",
    component=None,
    as_npy="float32 or float64 (M, latent), at most 5 rows.",
    is_images=False,
    max_rows=5,
)


class CountAnswer(Answer):
    """How much came."""

    sizes: tuple[int, ...]
    """Rows, and rows of the gallery."""


COUNT = Operation(
    path="/count",
    summary="How much came",
    description="Rows of each array.",
    query=ImagesQuery,
    answer=CountAnswer,
    bodies={BodyKind.JSON: "-d @both.json", BodyKind.NPZ: "--data-binary @both.npz"},
    arrays=(IMAGES, Z),
    company=(GALLERY,),
    limits=(FixedLimit("max_gallery", 5, "rows", "gallery of one /count", "refused", ("invalid-value",)),),
)


@COUNT.handler
async def count(call: Call[ImagesQuery]) -> CountAnswer:
    sizes = await call.compute(lambda: tuple(len(rows) for rows in call.arrays.values()))
    return CountAnswer(model=call.model.label, sizes=sizes)


@pytest.fixture(scope="module")
def with_one_more(tiny_store: Path) -> Iterator[Caller]:
    settings = Settings(model_store=tiny_store, threads=1)
    with Caller(create_app(settings, operations=(*OPERATIONS, BRIGHTNESS, COUNT))) as api:
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


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_array_comes_in_the_company_of_another(with_one_more: Caller) -> None:
    gallery = np.zeros((4, 8)).tolist()
    for body in ({"z": gallery[:1], "gallery": gallery}, {"images": [[[0] * 28] * 28], "gallery": gallery}):
        assert with_one_more.post_json("/count", body).json()["sizes"] == [1, 4]
        arrays = {name: np.array(value, np.float32) for name, value in body.items()}
        answer = with_one_more.post("/count", npz(**arrays), "application/x-npz")
        assert answer.json()["sizes"] == [1, 4]
        assert with_one_more.post("/count", npz(**arrays), None).status == 200, "known by how it begins"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"z": [[0] * 8]}, "body: gallery: expected an array of numbers, (M, latent), got nothing."),
        ({"gallery": [[0] * 8]}, "body: images or z: expected an array of numbers"),
        ({"z": [[0] * 8], "gallery": [[0] * 7]}, "gallery[0]: expected 8 numbers, got 7."),
        ({"z": [[0] * 8], "gallery": [[0] * 8] * 6}, "gallery: expected 1 to 5 entries, got 6."),
        ({"z": [[0] * 8], "gallery": [["x"] * 8]}, "gallery[0][0]: expected a number, got a string"),
    ],
)
def test_company_is_refused_by_its_own_name(with_one_more: Caller, body: dict[str, Any], detail: str) -> None:
    refused = with_one_more.post_json("/count", body)
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert refused.json()["detail"].startswith(detail)


def test_company_in_a_file_is_refused_by_its_own_name(with_one_more: Caller) -> None:
    z = np.zeros((1, 8), np.float32)
    refused = with_one_more.post("/count", npz(z=z, gallery=z[:, :7]), "application/x-npz")
    assert refused.json()["detail"].startswith("gallery: expected shape (N, 8), got shape (1, 7).")
    assert with_one_more.post("/count", npz(z=z), "application/x-npz").code == "invalid-value"
    assert with_one_more.post("/count", npz(z=z)[:-9], "application/x-npz").code == "malformed-body"
    refused = with_one_more.post("/encode", npz(images=z), "application/x-npz")
    assert refused.json()["detail"].startswith(
        "images: expected shape (N, 1, 28, 28) or (N, 28, 28), got shape"
    )


def test_limit_of_an_operation_is_told_with_the_others(api: Caller, with_one_more: Caller) -> None:
    rows = with_one_more.get("/limits").json()["limits"]
    others = [row["name"] for row in api.get("/limits").json()["limits"]]
    assert [row["name"] for row in rows] == [*others, "max_gallery"]
    assert (rows[-1]["name"], rows[-1]["value"], rows[-1]["status"]) == ("max_gallery", 5, 422)


def test_work_in_a_thread_is_left_where_nobody_waits_for_it(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, request_timeout_s=1e-9)
    with Caller(create_app(settings, operations=(COUNT,))) as api:
        late = api.post_json("/count", {"z": [[0] * 8], "gallery": [[0] * 8]})
    assert (late.status, late.code) == (504, "deadline-exceeded")


def test_document_describes_company_and_its_example_works(with_one_more: Caller, document: Document) -> None:
    content = content_of(document, document["paths"]["/count"]["post"]["requestBody"])
    assert "`images` or `z`, and `gallery`" in content["application/x-npz"]["schema"]["description"]
    assert list(content)[-1] == "application/octet-stream"
    body = content["application/json"]
    ways = [resolve(document, each) for each in resolve(document, body["schema"])["oneOf"]]
    assert [each["title"] for each in ways] == ["CountImagesRequest", "CountLatentsRequest"]
    assert [each["required"] for each in ways] == [["images", "gallery"], ["z", "gallery"]]
    assert defects(document, body["schema"], body["example"]) == []
    assert defects(document, body["schema"], {**body["example"], "gallery": [[0] * 8] * 6}) != []
    answer = with_one_more.post_json("/count", body["example"])
    assert_documented(document, "POST", "/count", answer)
    assert answer.json()["sizes"] == [1, 3]


def test_document_describes_it_without_knowing_it(with_one_more: Caller, document: Document) -> None:
    described = document["paths"]["/brightness"]["post"]
    assert described["operationId"] == "brightness"
    assert {"X-Seed", "X-Model"} <= set(resolve(document, described["responses"]["200"])["headers"])
    assert "`no-density`" in _text_of(document, described["responses"]["422"])
    body = content_of(document, described["requestBody"])["application/json"]
    assert body["example"]["seed"] == 3
    assert defects(document, body["schema"], body["example"]) == []
    answer = with_one_more.post_json("/brightness", body["example"])
    assert_documented(document, "POST", "/brightness", answer)
    assert list(document["paths"]["/brightness.txt"]) == ["post"]
    (text,) = content_of(document, document["paths"]["/brightness.txt"]["post"]["responses"]["200"]).values()
    assert [line.split() for line in text["example"].splitlines()] == [["image", "mean"], ["0", "0.500"]]


def test_other_paths_are_described_as_before(api: Caller, document: Document) -> None:
    before = api.get("/openapi.json").json()
    added = {"/brightness", "/brightness.npz", "/brightness.txt", "/count", "/count.npz", "/count.txt"}
    assert set(document["paths"]) - set(before["paths"]) == added
    table = "/limits"  # of all operations
    assert all(document["paths"][path] == before["paths"][path] for path in set(before["paths"]) - {table})
    for kind in ("responses", "examples"):  # the others have the limits of the server
        parts = before["components"][kind]
        changed = [name for name, part in parts.items() if document["components"][kind][name] != part]
        assert changed == [], kind


def _text_of(document: Document, response: dict[str, Any]) -> str:
    name = response["$ref"].rpartition("/")[2]
    text: str = document["components"]["responses"][name]["description"]
    return text
