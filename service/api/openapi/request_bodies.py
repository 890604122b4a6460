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
from service.http.parameters import Limits
from service.http.request_body import BodyKind

#: Rows of arrays that come with another one, in examples.
_EXAMPLE_ROWS = 3
#: The media type of a body whose first bytes determine its kind.
ANY_FILE = "application/octet-stream"
_ANY_FILE = "A file of any of the other types; the first bytes determine which."
#: Names in a schema and in `encoding` of a form's files.
_PICTURE_TYPES = "image/png, image/jpeg, image/webp"


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
    content: Schema = {
        kind.media_type: _of_kind(kind, operation, limits, model, components) for kind in operation.bodies
    }
    if any(kind not in (BodyKind.JSON, BodyKind.FORM) for kind in operation.bodies):
        # Last, because some generators have one type for all files, and send the last media type for it.
        content[ANY_FILE] = {"schema": binary(ANY_FILE, _ANY_FILE)}
    body = {"required": operation.is_body_required, "content": content}
    return components.add("requestBodies", operation.name, body)


def _of_kind(
    kind: BodyKind,
    operation: Operation[Any, Any],
    limits: Limits,
    model: ExampleModel,
    components: Components,
) -> Schema:
    """The media type object."""
    match kind:
        case BodyKind.JSON:
            return _json(operation, limits, model, components)
        case BodyKind.FORM:
            return _form(operation, limits, components)
        case BodyKind.NPY:
            described = operation.arrays[0].as_npy
        case BodyKind.NPZ:
            described = _as_npz(operation)
        case BodyKind.ZIP:
            described = _as_zip(operation)
        case BodyKind.SAFETENSORS:
            described = (
                "The tensor `z`, `latents` or `mu`, of F16, BF16, F32 or F64, such as `/encode.safetensors` "
                "writes it."
            )
        case _:
            described = _picture(limits)
    return {"schema": binary(kind.media_type, described)}


def _picture(limits: Limits) -> str:
    most = limits.max_picture_pixels
    return (
        f"One image, of exactly the model's size unless `resize` or `fit` is set, and of at most {most:,} "
        "pixels (`max_picture_pixels` of GET /limits), or four times as many in a JPEG. The orientation of "
        "EXIF is applied, and the size is that of the upright image. An animation is rejected."
    )


def _as_zip(operation: Operation[Any, Any]) -> str:
    company = "".join(f", and `{array.name}.npy`" for array in operation.company)
    return (
        f"PNG, JPEG and WebP files{company}, one image for each picture in the order of the archive. Folders "
        f"and hidden files are ignored. {_as_npz(operation)}"
    )


def _form(operation: Operation[Any, Any], limits: Limits, components: Components) -> Schema:
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
    parameters = parameter_schemas(operation.body, limits, components)
    properties = {operation.arrays[0].name: pictures, **files, **parameters}
    name = f"{pascal(operation.name)}Form"
    return {
        "schema": components.add("schemas", name, {"title": name, **_object(properties, required)}),
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
