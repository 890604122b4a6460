"""Schemas of parameters, from the classes that parse them.

Knows bounds and words of fields, and which parameters are an operation's own. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from service.api.operation import Operation
from service.api.resource import QueryParameter, Resource
from service.api.schema import Components, Schema, with_width
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


def parameter_schemas(model: type[Parameters], limits: Limits, components: Components) -> dict[str, Schema]:
    """One schema per field, in the order of the class; lists of words become components."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    schemas: dict[str, Schema] = {}
    for name, field in model.model_fields.items():
        description = " ".join((field.description or "").split())
        schema: Schema = {"type": names[scalar_type(field)], "description": description}
        if schema["type"] == "array":
            low, high = bounds(element_of(field), limits)
            fewest, most = list_lengths(field)
            schema["items"] = {"type": "integer", "minimum": low, "maximum": high}
            schema |= {"minItems": fewest, "maxItems": most, "uniqueItems": True}
        elif words := words_of(field):
            schema = {**components.words(name, words), "description": description}
        else:
            schema = with_width(schema | _bounds(field, limits))
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
    }
    return {name: value for name, value in stated.items() if value is not None}


def query_parameters(operation: Operation[Any, Any], limits: Limits, components: Components) -> list[Schema]:
    """References to the parameters of a query; operations share those that are not their own."""
    references = []
    for name, schema in parameter_schemas(operation.query, limits, components).items():
        rest = {key: value for key, value in schema.items() if key not in ("description", "examples")}
        parameter = {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": rest,
            **({"style": "form", "explode": False} if rest.get("type") == "array" else {}),
        }
        is_own = name in operation.body.model_fields
        references.append(
            components.add("parameters", f"{operation.name}_{name}" if is_own else name, parameter)
        )
    return references


def query_parameter(parameter: QueryParameter, resource: Resource, components: Components) -> Schema:
    """A reference to a parameter that a resource reads by itself; resources of one tag share it.

    Args:
        parameter: The parameter.
        resource: The resource.
        components: Receives it, and its words as a type.
    """
    owner = resource.operation_id if parameter.is_required else resource.tag
    name = f"{owner}_{parameter.name}"
    schema = with_width(dict(parameter.schema))
    if "enum" in schema:
        rest = {key: value for key, value in schema.items() if key not in ("type", "enum")}
        schema = {**components.words(name, schema["enum"]), **rest}
    is_list = parameter.schema.get("type") == "array"
    described = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": schema,
        **({"style": "form", "explode": True} if is_list else {}),
    }
    return components.add("parameters", name, described)


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
