"""The request body of an operation: a schema for each kind, and JSON that works without changes.

Knows the arrays and parameters of a body. Knows nothing of requests or models.
"""

from __future__ import annotations

from typing import Any

from service.api.openapi.components import latents_schema
from service.api.openapi.examples import ExampleModel, example_rows
from service.api.openapi.parameters import parameter_schemas
from service.api.operation import Operation
from service.api.request_arrays import ArrayIn
from service.api.schema import Schema, reference
from service.codecs.images import MAX_PIXELS_IN
from service.http.parameters import Limits
from service.http.request_body import BodyKind

#: Rows of arrays that come with another one, in examples.
_EXAMPLE_ROWS = 3
_PNG = (
    f"One image, of exactly the model's size unless `resize` is true, and then of at most {MAX_PIXELS_IN:,} "
    "pixels, which is 256 × 256. The orientation of EXIF is applied, and the size is that of the upright "
    "image."
)


def request_body(operation: Operation[Any, Any], limits: Limits, model: ExampleModel) -> Schema:
    """The request body object.

    Args:
        operation: The operation.
        limits: Bounds from the settings.
        model: The model of the example.
    """
    content: Schema = {}
    for kind in operation.bodies:
        if kind is BodyKind.JSON:
            content[kind.media_type] = _json(operation, limits, model)
        elif kind is BodyKind.PNG:
            content[kind.media_type] = {"schema": binary(kind.media_type, _PNG)}
        elif kind is BodyKind.NPY:
            content[kind.media_type] = {"schema": binary(kind.media_type, operation.arrays[0].as_npy)}
        else:
            content[kind.media_type] = {"schema": binary(kind.media_type, _as_npz(operation))}
    return {"required": operation.is_body_required, "content": content}


def binary(media_type: str, description: str) -> Schema:
    """The schema of a file."""
    return {"type": "string", "format": "binary", "contentMediaType": media_type, "description": description}


def _as_npz(operation: Operation[Any, Any]) -> str:
    ways = " or ".join(f"`{array.name}`" for array in operation.arrays)
    company = "".join(f", and `{array.name}`" for array in operation.company)
    contents = " ".join(f"{array.name}: {array.as_npy}" for array in (*operation.arrays, *operation.company))
    return f"{ways}{company}, as numpy.savez writes them. {contents}"


def _json(operation: Operation[Any, Any], limits: Limits, model: ExampleModel) -> Schema:
    """The media type object of JSON: one schema for each possible array, and one without an array."""
    parameters = parameter_schemas(operation.body, limits)
    company = {array.name: _array(array, limits) for array in operation.company}
    ways = []
    for array in operation.arrays:
        schema = _array(array, limits)
        if operation.rows is not None:
            schema |= {"minItems": operation.rows, "maxItems": operation.rows}
        ways.append(_object({array.name: schema, **company, **parameters}, [array.name, *company]))
    if not operation.is_body_required:
        ways.append(_object(parameters, []))
    # The last array is the shorter one.
    arrays = {
        array.name: example_rows(operation.rows or 1, model, is_images=array.is_images)
        for array in operation.arrays[-1:]
    }
    for array in operation.company:
        arrays[array.name] = example_rows(_EXAMPLE_ROWS, model, is_images=array.is_images)
    return {
        "schema": ways[0] if len(ways) == 1 else {"anyOf": ways},
        "example": {**arrays, **operation.example},
    }


def _array(array: ArrayIn, limits: Limits) -> Schema:
    if array.component is not None:
        return reference(array.component)
    most = limits.max_images if array.max_rows is None else array.max_rows
    return latents_schema(most, description=array.as_npy)


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
