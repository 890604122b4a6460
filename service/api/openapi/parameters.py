"""Schemas of parameters, from the classes that parse them.

Knows bounds and words of fields. Knows nothing of requests.
"""

from __future__ import annotations

from pydantic.fields import FieldInfo

from service.api.schema import Schema
from service.http.parameters import (
    Limits,
    Parameters,
    bounds,
    element_of,
    list_lengths,
    longest_text,
    scalar_type,
    words_of,
)


def parameter_schemas(model: type[Parameters], limits: Limits) -> dict[str, Schema]:
    """One schema per field, in the order of the class."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    schemas: dict[str, Schema] = {}
    for name, field in model.model_fields.items():
        schema: Schema = {
            "type": names[scalar_type(field)],
            "description": " ".join((field.description or "").split()),
        }
        if schema["type"] == "array":
            low, high = bounds(element_of(field), limits)
            fewest, most = list_lengths(field)
            schema["items"] = {"type": "integer", "minimum": low, "maximum": high}
            schema |= {"minItems": fewest, "maxItems": most, "uniqueItems": True}
        else:
            schema |= _bounds(field, limits)
        if isinstance(field.json_schema_extra, dict):
            schema |= field.json_schema_extra
        if field.default is not None:
            schema["default"] = field.default
        if field.examples:
            schema["examples"] = list(field.examples)
        schemas[name] = schema
    return schemas


def _bounds(field: FieldInfo, limits: Limits) -> Schema:
    low, high = bounds(field, limits)
    stated = {
        "minimum": low,
        "maximum": high,
        "maxLength": longest_text(field),
        "enum": list(words_of(field)) or None,
    }
    return {name: value for name, value in stated.items() if value is not None}


def query_parameters(model: type[Parameters], limits: Limits) -> list[Schema]:
    """The parameter objects of a query."""
    parameters = []
    for name, schema in parameter_schemas(model, limits).items():
        rest = {key: value for key, value in schema.items() if key not in ("description", "examples")}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema["description"],
                "schema": rest,
                **({"style": "form", "explode": False} if rest["type"] == "array" else {}),
            }
        )
    return parameters


def path_parameter(name: str, description: str, schema: Schema, example: str) -> Schema:
    """The parameter object of a part of a path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }
