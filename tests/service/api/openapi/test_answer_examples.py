"""The examples of answers are answers that the document allows, and show no placeholder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from http_calls import Caller
from openapi_checks import Document, defects, operations, resolve

from service.api.openapi.answer_examples import add_answer_examples
from service.api.openapi.examples import ExampleModel


@pytest.fixture(scope="module")
def document(api: Caller) -> Document:
    loaded: Document = api.get("/openapi.json").json()
    return loaded


def answers(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Path, media type and content of every successful answer."""
    for _, path, operation in operations(document):
        for media_type, content in resolve(document, operation["responses"]["200"])["content"].items():
            yield path, media_type, content


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def names_in_place_of_values(value: Any) -> list[str]:
    """Fields whose text is their own name: `answer_examples` has no value for them."""
    if isinstance(value, list):
        return [name for each in value for name in names_in_place_of_values(each)]
    if not isinstance(value, dict):
        return []
    own = [name for name, each in value.items() if each == name]
    return own + [name for each in value.values() for name in names_in_place_of_values(each)]


def test_every_json_answer_has_an_example_that_its_schema_allows(document: Document) -> None:
    shown = 0
    for path, media_type, content in answers(document):
        if media_type == "application/json" and path != "/openapi.json":
            assert content["example"], path
            assert defects(document, content["schema"], content["example"]) == [], path
            assert "string" not in set(texts(content["example"])), path
            assert names_in_place_of_values(content["example"]) == [], path
            shown += 1
    assert shown > 20


def test_every_text_has_an_example(document: Document) -> None:
    """The page showed the word "string" in their place."""
    for path, media_type, content in answers(document):
        if media_type.startswith("text/"):
            (example,) = [content["example"]] if "example" in content else content["schema"]["examples"]
            assert len(example) > 10, path
            assert "string" not in example


def test_example_of_a_drawing_is_the_drawing_of_the_example_image(document: Document) -> None:
    content = document["paths"]["/sample"]["get"]["responses"]["200"]["content"]
    image = content["application/json"]["example"]["images"][0]
    assert (len(image), len(image[0]), len(image[0][0])) == (1, 28, 28)
    lines = content["text/plain"]["example"].splitlines()
    assert (len(lines), {len(line) for line in lines}) == (7, {14})
    assert content["application/json"]["example"]["model"] == "mnist@1"
    table = document["paths"]["/score"]["post"]["responses"]["200"]["content"]["text/plain"]["example"]
    assert table.split()[:3] == ["image", "reconstruction_nll", "kl"]


def test_example_that_is_there_stays() -> None:
    content = {"schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}}
    stated = {**content, "example": {"a": "own"}}
    for given, example in ((content, {"a": "a"}), (stated, {"a": "own"})):
        paths = {"/x": {"get": {"responses": {"200": {"content": {"application/json": dict(given)}}}}}}
        add_answer_examples(paths, {}, ExampleModel())
        written = paths["/x"]["get"]["responses"]["200"]["content"]["application/json"]
        assert json.dumps(written["example"]) == json.dumps(example)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": ["integer", "null"]}, None),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, None),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}]}, 3),
        ({"type": "string", "enum": ["slerp", "lerp"]}, "slerp"),
        ({"type": "integer", "examples": [9]}, 9),
        ({"type": "boolean"}, False),
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [1, 1]),
    ],
)
def test_value_of_each_kind_of_schema(schema: dict[str, Any], value: object) -> None:
    content = {"schema": {"type": "object", "required": ["field"], "properties": {"field": schema}}}
    paths = {"/x": {"get": {"responses": {"200": {"content": {"application/json": content}}}}}}
    add_answer_examples(paths, {}, ExampleModel())
    assert content["example"] == {"field": value}
