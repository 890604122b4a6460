"""The OpenAPI document is made for generators of clients: names, one type for one path, examples, size."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from http_calls import Caller
from openapi_checks import Document, content_of, defects, operations, resolve

from service.api.native.table import OPERATIONS


@pytest.fixture(scope="module")
def document(api: Caller) -> Document:
    loaded: Document = api.get("/openapi.json").json()
    return loaded


def test_operations_have_short_names_that_stay(document: Document) -> None:
    """Generated clients call their functions by them."""
    names = {f"{method} {path}": operation["operationId"] for method, path, operation in operations(document)}
    for operation in OPERATIONS:
        first, *others = operation.methods
        for form in operation.formats:
            is_json = form is operation.formats[0]
            path = operation.path if is_json else f"{operation.path}.{form.suffix}"
            name = operation.name if is_json else f"{operation.name}_{form.suffix}"
            assert names.pop(f"{first} {path}") == name
            for method in others:
                assert names.pop(f"{method} {path}") == f"{name}_{method.lower()}"
    protocol = {name: names.pop(name) for name in list(names) if name.split()[1].startswith("/v2")}
    assert len(protocol) == 18
    assert all(name.startswith("v2_") for name in protocol.values())
    assert protocol["POST /v2/models/{model}/infer"] == "v2_infer"
    assert protocol["POST /v2/models/{model}/versions/{version}/infer"] == "v2_infer_of_version"
    assert names == {
        "GET /models": "list_models",
        "GET /models/{name}": "get_model",
        "GET /models/{name}/preview": "get_preview",
        "GET /models/{name}/preview.npz": "get_preview_npz",
        "GET /models/{name}/preview.png": "get_preview_png",
        "POST /remote/decode": "remote_decode",
        "POST /remote/encode": "remote_encode",
        "POST /models/{name}/reload": "reload",
        "GET /livez": "livez",
        "GET /readyz": "readyz",
        "GET /metrics": "metrics",
        "GET /limits": "limits",
        "GET /": "help",
        "GET /docs": "docs",
        "GET /openapi.json": "openapi",
        "GET /problems": "problems",
        "GET /problems/{code}": "problem",
    }


def test_every_body_and_document_has_a_name(document: Document) -> None:
    """An object without a name is one more type of a generated client, with a name that it makes up."""
    for method, path, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in (*bodies, *operation["responses"].values()):
            for media_type, content in content_of(document, body).items():
                if media_type.endswith("json") or media_type == "multipart/form-data":
                    assert list(content["schema"]) == ["$ref"], (method, path)
    unnamed: list[str] = []

    def look(schema: Any, where: str, *, is_named: bool) -> None:
        is_object = schema.get("type") == "object" and "properties" in schema
        if not is_named and (is_object or len(schema.get("enum", ())) > 1):
            unnamed.append(where)
        for name, each in schema.get("properties", {}).items():
            look(each, f"{where}.{name}", is_named=False)
        items = [schema["items"]] if "items" in schema else []
        for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *items):
            look(each, where, is_named=False)

    for name, schema in document["components"]["schemas"].items():
        assert schema["title"] == name
        look(schema, name, is_named=True)
    for name, parameter in document["components"]["parameters"].items():
        look(parameter["schema"], name, is_named=False)
    assert unnamed == []


def test_each_path_answers_in_one_media_type(document: Document) -> None:
    """Several of them have no common type in a generated client, unless all are files."""
    for method, path, operation in operations(document):
        kinds = content_of(document, operation["responses"]["200"])
        are_files = all(each["schema"].get("format") == "binary" for each in kinds.values())
        assert len(kinds) == 1 or (are_files and path == "/remote/decode"), (method, path)
    for operation in OPERATIONS:
        json_alone = document["paths"][operation.path][operation.methods[0].lower()]
        assert list(content_of(document, json_alone["responses"]["200"])) == ["application/json"]
        assert json_alone["tags"] == ["model"]
        for form in operation.formats[1:]:
            path = f"{operation.path}.{form.suffix}"
            assert f"`{path}`" in json_alone["description"]
            assert all(each["tags"] == ["formats"] for each in document["paths"][path].values())
        assert "`Accept` header" in json_alone["description"]


def test_a_file_of_any_kind_is_the_last_media_type(document: Document) -> None:
    """openapi-python-client has one type for all files, and labels each by the last media type."""
    for _, path, operation in operations(document):
        kinds = list(content_of(document, operation.get("requestBody", {"content": {}})))
        assert kinds[:1] in ([], ["application/json"]) or kinds == ["application/octet-stream"]
        if len(kinds) > 1:
            assert kinds[-1] == "application/octet-stream", path


def test_numbers_that_need_64_bits_say_so(document: Document) -> None:
    """A seed of up to 2^53 does not fit Java's Integer, which is the type without a format."""
    schemas, parameters = document["components"]["schemas"], document["components"]["parameters"]
    assert schemas["SampleResponse"]["properties"]["seed"]["format"] == "int64"
    assert parameters["sample_seed"]["schema"]["format"] == "int64"
    assert "format" not in parameters["sample_n"]["schema"]
    assert schemas["Provenance"]["properties"]["seed"]["format"] == "int64"


def test_document_is_small(document: Document) -> None:
    """Every problem, parameter and body is written once, so one more operation is a list of references."""
    count = sum(1 for _ in operations(document))
    assert len(orjson.dumps(document)) / count < 4_500
    assert all(
        len(orjson.dumps(operation)) < 3_200
        for _, path, operation in operations(document)
        if path != "/limits"
    )


def test_examples_of_answers_are_real(api: Caller, document: Document) -> None:
    """The answer to the example of the body has the keys, facts and shapes of the example of the answer."""
    for operation in OPERATIONS:
        described = document["paths"][operation.path]["post"]
        body = content_of(document, described["requestBody"])["application/json"]["example"]
        documented = content_of(document, described["responses"]["200"])["application/json"]["example"]
        answered = api.post_json(operation.path, body).json()
        assert list(documented) == list(answered)
        for name, value in answered.items():
            if name in operation.answer.array_names:
                assert np.shape(documented[name]) == np.shape(value), (operation.path, name)
            elif name not in ("prior", "seed", "likelihood"):
                assert documented[name] == value, (operation.path, name)


def test_example_of_a_drawing_is_the_drawing_of_the_example_image(document: Document) -> None:
    drawing = content_of(document, document["paths"]["/sample.txt"]["get"]["responses"]["200"])["text/plain"]
    lines = drawing["example"].splitlines()
    assert (len(lines), {len(line) for line in lines}) == (7, {14})
    scores = content_of(document, document["paths"]["/score.txt"]["post"]["responses"]["200"])["text/plain"]
    assert scores["example"].split()[:3] == ["image", "reconstruction_nll", "kl"]


def test_every_example_fits_its_schema(document: Document) -> None:
    tried = 0
    for _, path, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in (*bodies, *operation["responses"].values()):
            for media_type, content in content_of(document, body).items():
                examples = [
                    each["value"] for each in map(_resolver(document), content.get("examples", {}).values())
                ]
                examples += [content["example"]] if "example" in content else []
                if not media_type.endswith(("json", "plain", "html")):
                    assert examples == [], path
                    continue
                assert examples, (path, media_type)
                for example in examples:
                    tried += 1
                    assert defects(document, content["schema"], example) == [], path
                    text = example if isinstance(example, str) else json.dumps(example)
                    assert text.strip('"') not in ("", "string"), path
                    assert ': ""' not in text or path == "/limits", path  # a plain number has no unit
    assert tried > 500


def _resolver(document: Document) -> Callable[[Any], Any]:
    return lambda node: resolve(document, node)


def test_document_is_made_once_for_each_prefix(api: Caller) -> None:
    """It takes a tenth of a second, during which nothing else is answered."""
    assert api.app.openapi() is api.app.openapi()
    assert api.app.openapi("/vae") is api.app.openapi("/vae")
    assert (api.app.openapi()["servers"], api.app.openapi("/vae")["servers"]) == (
        [{"url": "."}],
        [{"url": "/vae"}],
    )
