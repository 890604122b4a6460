"""JSON schema of a request body, and an example of it that can be sent as it stands.

Knows which arrays and parameters a body may hold. Knows nothing of requests or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.openapi.components import (
    ExampleModel,
    Schema,
    example_image,
    example_latent,
    parameter_schemas,
)
from service.http.parameters import Limits, Parameters

_COMPONENTS = {"images": "ImagesIn", "z": "LatentsIn"}


def json_body(
    takes: tuple[str, ...],
    scalars: type[Parameters],
    limits: Limits,
    model: ExampleModel,
    *,
    rows: int | None = None,
    is_optional: bool = False,
    example: Mapping[str, object],
) -> Schema:
    """The media type object of one operation's JSON.

    Args:
        takes: Names of the arrays, of which a body holds exactly one.
        scalars: Parameters beside it.
        limits: Bounds from the settings.
        model: What the example is made for.
        rows: How many rows the array has, where that is fixed.
        is_optional: Whether a body may do without an array.
        example: Parameters of the example.
    """
    parameters = parameter_schemas(scalars, limits)
    ways = []
    for name in takes:
        array: Schema = {"$ref": f"#/components/schemas/{_COMPONENTS[name]}"}
        if rows is not None:
            array |= {"minItems": rows, "maxItems": rows}
        ways.append(_object({name: array, **parameters}, [name]))
    if is_optional or not takes:
        ways.append(_object(parameters, []))
    # The last array is the shorter one.
    arrays = {name: _example_rows(name, rows or 1, model) for name in takes[-1:]}
    return {"schema": ways[0] if len(ways) == 1 else {"anyOf": ways}, "example": {**arrays, **example}}


def _example_rows(name: str, rows: int, model: ExampleModel) -> list[Any]:
    if name == "images":
        return [example_image(model)] * rows
    # Turned round row by row: two ends of a way must differ.
    latent = example_latent(model)
    return [latent[::-1] if row % 2 else latent for row in range(rows)]


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
