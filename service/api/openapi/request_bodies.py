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
from service.http.parameters import Limits
from service.http.request_body import BodyKind

#: Rows of arrays that come with another one, in examples.
_EXAMPLE_ROWS = 3
#: Names in a schema and in `encoding` of a form's files.
_PICTURE_TYPES = "image/png, image/jpeg, image/webp"


def request_body(operation: Operation[Any, Any], limits: Limits, model: ExampleModel) -> Schema:
    """The request body object.

    Args:
        operation: The operation.
        limits: Bounds from the settings.
        model: The model of the example.
    """
    return {
        "required": operation.is_body_required,
        "content": {kind.media_type: _of_kind(kind, operation, limits, model) for kind in operation.bodies},
    }


def _of_kind(kind: BodyKind, operation: Operation[Any, Any], limits: Limits, model: ExampleModel) -> Schema:
    """The media type object."""
    match kind:
        case BodyKind.JSON:
            return _json(operation, limits, model)
        case BodyKind.FORM:
            return _form(operation, limits)
        case BodyKind.NPY:
            described = operation.arrays[0].as_npy
        case BodyKind.NPZ:
            described = _as_npz(operation)
        case BodyKind.ZIP:
            described = _as_zip(operation)
        case _:
            described = _picture(limits)
    return {"schema": binary(kind.media_type, described)}


def _picture(limits: Limits) -> str:
    most = limits.max_picture_pixels
    return (
        f"One image, of exactly the model's size unless `resize` or `fit` is set, and of at most {most:,} "
        "pixels (`max_picture_pixels` of GET /limits). The orientation of EXIF is applied, and the size is "
        "that of the upright image. An animation is rejected."
    )


def _as_zip(operation: Operation[Any, Any]) -> str:
    company = "".join(f", and `{array.name}.npy`" for array in operation.company)
    return (
        f"PNG, JPEG and WebP files{company}, one image for each picture in the order of the archive. Folders "
        f"and hidden files are ignored. {_as_npz(operation)}"
    )


def _form(operation: Operation[Any, Any], limits: Limits) -> Schema:
    """A form: pictures under any name, arrays as npy files, parameters as text."""
    pictures: Schema = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": operation.rows or 1,
        "maxItems": operation.rows or limits.max_images,
        "description": f"One file for each image: PNG, JPEG or WebP. {_picture(limits)} Or one npy file.",
    }
    files: dict[str, Schema] = {
        array.name: {"type": "string", "format": "binary", "description": f"An npy file. {array.as_npy}"}
        for array in (*operation.arrays[1:], *operation.company)
    }
    required = [array.name for array in operation.company]
    if len(operation.arrays) == 1 and operation.is_body_required:
        required = [operation.arrays[0].name, *required]
    properties = {operation.arrays[0].name: pictures, **files, **parameter_schemas(operation.body, limits)}
    return {
        "schema": _object(properties, required),
        "encoding": {
            operation.arrays[0].name: {"contentType": _PICTURE_TYPES},
            **{name: {"contentType": BodyKind.NPY.media_type} for name in files},
        },
    }


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
