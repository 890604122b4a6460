"""An OpenAPI document against the answers of a server: a small, strict JSON schema validator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from http_calls import Answer

Document = Mapping[str, Any]


def resolve(document: Document, node: Any) -> Any:
    """The node that a `$ref` names."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def parameters_of(document: Document, operation: Any) -> dict[str, Any]:
    """Its parameters by name."""
    return {p["name"]: p for p in (resolve(document, each) for each in operation["parameters"])}


def content_of(document: Document, body_or_response: Any) -> Any:
    """The media types of a request body, or of a response; none of one without a body."""
    return resolve(document, body_or_response).get("content", {})


def operations(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Method, path and declaration of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def defects(document: Document, schema: Any, value: Any, where: str = "$") -> list[str]:
    """A small JSON schema validator: the words that this document uses, and no others."""
    if "$ref" in schema:
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        schema = {**resolve(document, schema), **beside}
    known = {
        "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minimum",
        "maximum", "enum", "anyOf", "oneOf", "description", "title", "format", "default", "examples",
        "maxLength", "contentMediaType", "uniqueItems",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    found: list[str] = []
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
        "null": type(None),
    }  # fmt: skip
    if "anyOf" in schema:
        ways = [defects(document, way, value, where) for way in schema["anyOf"]]
        return [] if any(not way for way in ways) else ways[0]
    if "oneOf" in schema:
        ways = [defects(document, way, value, where) for way in schema["oneOf"]]
        fitting = [way for way in ways if not way]
        return [] if len(fitting) == 1 else [f"{where}: fits {len(fitting)} of {len(ways)}", *ways[0]]
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        fits = any(
            isinstance(value, kinds[t]) and not (isinstance(value, bool) and t in ("integer", "number"))
            for t in types
        )
        if not fits:
            return [f"{where}: {type(value).__name__} is not {types}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: not one of the enum")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{where}: out of range")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{where}: {len(value)} items")
        for i, element in enumerate(value):
            found += defects(document, schema.get("items", {}), element, f"{where}[{i}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{where}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, element in value.items():
            if name in properties:
                found += defects(document, properties[name], element, f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{where}: {name} is undocumented")
            elif isinstance(schema.get("additionalProperties"), dict):
                found += defects(document, schema["additionalProperties"], element, f"{where}.{name}")
    return found


def assert_documented(document: Document, method: str, path: str, answer: Answer) -> None:
    """Status, media type, headers and body are all in the document."""
    operation = document["paths"][path][method.lower()]
    assert str(answer.status) in operation["responses"], (method, path, answer.status)
    response = resolve(document, operation["responses"][str(answer.status)])
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in response["content"]
    # X-Z is there only for one image, X-Seed only where something was drawn, X-Label only where one was asked
    # for, the length of JSON only where bytes follow it, the headers of pictures only where pictures came. An
    # error may come before the model is chosen.
    sometimes = {"X-Z", "X-Seed", "X-Label", "X-Picture", "X-Warning", "Inference-Header-Content-Length"}
    sometimes |= {"X-Model"} if answer.status >= 400 else set()
    for name in set(response["headers"]) - sometimes:
        assert name.lower() in answer.headers, (path, name)
    named = {name.lower() for name in response["headers"]}
    standard = {
        "content-type", "content-length", "cache-control", "vary", "x-content-type-options", "etag",
        "last-modified", "content-security-policy", "referrer-policy", "accept-ranges", "date",
        "cross-origin-resource-policy", "content-disposition", "content-encoding",
    }  # fmt: skip
    undocumented = set(answer.headers) - named - standard
    assert undocumented == set(), (path, undocumented)
    if media_type.endswith("json"):
        assert defects(document, response["content"][media_type]["schema"], answer.json()) == []
