"""The request body of an operation: a schema for each kind, and JSON that works without changes.

Knows the arrays and parameters of a body. Knows nothing of requests or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.openapi.components import latents_schema
from service.api.openapi.examples import ExampleModel, example_rows
from service.api.openapi.parameters import parameter_schemas
from service.api.operation import Operation
from service.api.request_arrays import ArrayIn
from service.api.schema import Components, Schema, pascal, reference
from service.codecs.images import MAX_PIXELS_IN
from service.http.parameters import Limits
from service.http.request_body import BodyKind

#: Rows of arrays that come with another one, in examples.
_EXAMPLE_ROWS = 3
#: The media type of a body whose first bytes determine its kind.
ANY_FILE = "application/octet-stream"
_ANY_FILE = "Any of the others; the first bytes determine which."
_PNG = (
    f"One image, of exactly the model's size unless `resize` is true, and then of at most {MAX_PIXELS_IN:,} "
    "pixels, which is 256 × 256. The orientation of EXIF is applied, and the size is that of the upright "
    "image."
)


def request_body(
    operation: Operation[Any, Any], limits: Limits, model: ExampleModel, components: Components
) -> Schema:
    """A reference to the request body, which every path and method of an operation shares.

    Args:
        operation: The operation.
        limits: Bounds from the settings.
        model: The model of the example.
        components: Receives the body and its schemas.
    """
    content: Schema = {}
    for kind in operation.bodies:
        if kind is BodyKind.JSON:
            content[kind.media_type] = _json(operation, limits, model, components)
        elif kind is BodyKind.PNG:
            content[kind.media_type] = {"schema": binary(kind.media_type, _PNG)}
        elif kind is BodyKind.NPY:
            content[kind.media_type] = {"schema": binary(kind.media_type, operation.arrays[0].as_npy)}
        else:
            content[kind.media_type] = {"schema": binary(kind.media_type, _as_npz(operation))}
    if any(kind is not BodyKind.JSON for kind in operation.bodies):
        # Last, because some generators have one type for all files, and send the last media type for it.
        content[ANY_FILE] = {"schema": binary(ANY_FILE, _ANY_FILE)}
    body = {"required": operation.is_body_required, "content": content}
    return components.add("requestBodies", operation.name, body)


def binary(media_type: str, description: str) -> Schema:
    """The schema of a file."""
    return {"type": "string", "format": "binary", "contentMediaType": media_type, "description": description}


def _as_npz(operation: Operation[Any, Any]) -> str:
    ways = " or ".join(f"`{array.name}`" for array in operation.arrays)
    company = "".join(f", and `{array.name}`" for array in operation.company)
    contents = " ".join(f"{array.name}: {array.as_npy}" for array in (*operation.arrays, *operation.company))
    return f"{ways}{company}, as numpy.savez writes them. {contents}"


def _json(
    operation: Operation[Any, Any], limits: Limits, model: ExampleModel, components: Components
) -> Schema:
    """The media type object of JSON: one schema for each possible array, and one without an array."""
    name = pascal(operation.name)
    parameters = parameter_schemas(operation.body, limits, components)
    company = {array.name: _array(operation, array, limits, components) for array in operation.company}
    ways: dict[str, Schema] = {}
    for array in operation.arrays:
        schema = _array(operation, array, limits, components)
        if operation.rows is not None:
            schema |= {"minItems": operation.rows, "maxItems": operation.rows}
        kind = "Images" if array.is_images else "Latents"
        ways[f"{name}{kind}Request"] = _object(
            {array.name: schema, **company, **parameters}, [array.name, *company]
        )
    if not operation.is_body_required:
        ways[f"{name}ParametersRequest"] = _object(parameters, [])
    # The last array is the shorter one.
    arrays = {
        array.name: example_rows(operation.rows or 1, model, is_images=array.is_images)
        for array in operation.arrays[-1:]
    }
    for array in operation.company:
        arrays[array.name] = example_rows(_EXAMPLE_ROWS, model, is_images=array.is_images)
    return {
        "schema": _one_of(f"{name}Request", ways, components),
        "example": {**arrays, **operation.example},
    }


def _one_of(name: str, ways: Mapping[str, Schema], components: Components) -> Schema:
    """The only way under the name of the whole, or a reference to each."""
    if len(ways) == 1:
        (only,) = ways.values()
        return components.add("schemas", name, {"title": name, **only})
    each = [components.add("schemas", way, {"title": way, **schema}) for way, schema in ways.items()]
    return components.add("schemas", name, {"title": name, "oneOf": each})


def _array(operation: Operation[Any, Any], array: ArrayIn, limits: Limits, components: Components) -> Schema:
    if array.component is not None:
        return reference(array.component)
    most = limits.max_images if array.max_rows is None else array.max_rows
    name = pascal(operation.name) + pascal(array.name)
    return components.add("schemas", name, latents_schema(name, most, description=array.as_npy))


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
