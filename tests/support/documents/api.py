"""The endpoints as tables: parameters, bodies, answers and problems, from the OpenAPI document.

Knows the document. Knows nothing of how it is made.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from documents.tables import table
from service.app import create_app
from service.settings import Settings

_METHODS: Final = ("get", "post")
#: Forms of an answer by media type, as suffixes.
_SUFFIXES: Final = {
    "application/json": ".json",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "application/x-npy": ".npy",
    "application/x-npz": ".npz",
    "application/zip": ".npz",
    "text/plain": ".txt",
}


@functools.cache
def document() -> Mapping[str, Any]:
    """The document of a server with its defaults."""
    found: Mapping[str, Any] = create_app(Settings()).openapi()
    return found


def paths() -> str:
    """Every path with its methods and what it is for."""
    rows = [
        (f"`{path}`", ", ".join(m.upper() for m in _METHODS if m in operations), _summary(operations))
        for path, operations in document()["paths"].items()
    ]
    return table(("path", "methods", "what it does"), rows)


def endpoint(path: str) -> str:
    """One endpoint: its parameters, body, answer and problems."""
    operations = document()["paths"][path]
    operation = operations.get("get") or operations["post"]
    parameters = map(_resolved, operation["parameters"])
    parts = [
        table(
            ("parameter", "values", "meaning"),
            [
                (f"`{p['name']}`", _values(p["schema"]), p["description"])
                for p in parameters
                if p["in"] == "query"
            ],
        )
    ]
    answer = _resolved(operation["responses"]["200"])["content"]
    fields = list(_fields(answer["application/json"]["schema"]))
    parts.append(table(("in the JSON answer", "meaning"), fields))
    lines = []
    if "requestBody" in operations.get("post", {}):
        body = _resolved(operations["post"]["requestBody"])
        kinds = ", ".join(f"`{kind}`" for kind in body["content"])
        lines.append(f"- Body of `POST`: {kinds}{'' if body.get('required') else ', or none'}.")
    lines.append(f"- Forms of the answer: {', '.join(f'`{suffix}`' for suffix in _forms(path))}.")
    codes = dict.fromkeys(
        code
        for each in operations.values()
        for status, response in each["responses"].items()
        if int(status) >= 400
        for code in _codes(response)
    )
    lines.append("- [Problems](problems.md): " + ", ".join(f"`{code}`" for code in codes) + ".")
    return "\n".join([*parts, "\n".join(lines) + "\n"])


def _forms(path: str) -> list[str]:
    """Suffixes of an endpoint: that of JSON, and those that have a path of their own."""
    suffixes = dict.fromkeys(_SUFFIXES.values())
    return [suffix for suffix in suffixes if suffix == ".json" or path + suffix in document()["paths"]]


def _summary(operations: Mapping[str, Any]) -> str:
    summary: str = next(operations[m] for m in _METHODS if m in operations)["summary"]
    return summary


def _codes(response: Mapping[str, Any]) -> list[str]:
    """`#/components/responses/400_malformed-request_or_malformed-body` → both codes."""
    name = response["$ref"].rpartition("/")[2]
    found: list[str] = re.sub(r"^\d+_", "", name).split("_or_")
    return found


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = document()
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return _resolved(found)


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    schema = _resolved(schema)
    required = set(schema.get("required", ()))
    for name, inner in schema["properties"].items():
        described = (inner, _resolved(inner), inner.get("items", {}))
        description = next((each["description"] for each in described if "description" in each), "")
        yield f"`{name}`{'' if name in required else ', not always'}", description


def _values(schema: Mapping[str, Any]) -> str:
    """`true`, `1 to 64`, `a text`: what a parameter may be, and its default."""
    schema = _resolved(schema)
    if "enum" in schema:
        values = ", ".join(f"`{value}`" for value in schema["enum"])
    elif schema["type"] == "boolean":
        values = "`true`, `false`"
    elif schema["type"] == "array":
        values = f"{schema['minItems']} or {schema['maxItems']} numbers, with a comma"
    elif schema["type"] == "string":
        values = f"text of at most {schema['maxLength']} characters"
    else:
        low, high = (_number(schema[key]) if key in schema else "" for key in ("minimum", "maximum"))
        kind = "whole number" if schema["type"] == "integer" else "number"
        values = f"{kind}, {low} to {high}" if high else f"{kind}, at least {low}"
    default = schema.get("default")
    return values if default is None else f"{values}; default `{str(default).lower()}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value}"
