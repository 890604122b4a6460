"""The paths of operations: parameters, bodies, formats, headers and problems of each.

Knows the declarations of operations, and none of them by name. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from service.api.openapi.components import SHARED
from service.api.openapi.examples import ExampleModel
from service.api.openapi.headers import ALWAYS, header_references
from service.api.openapi.parameters import path_parameter, query_parameters
from service.api.openapi.problem_responses import ProblemResponses
from service.api.openapi.request_bodies import binary, request_body
from service.api.operation import Operation
from service.api.parameters import ImagesQuery
from service.api.request_images import PICTURE_HEADER, WARNING_HEADER
from service.api.schema import Schema, schema_of
from service.http.negotiation import Format
from service.http.parameters import Limits

_FILES: Final[Mapping[Format, str]] = MappingProxyType(
    {
        Format.PNG: "One image, or a contact sheet, row by row.",
        Format.JPEG: "The picture of `.png` with losses: `quality` sets how many.",
        Format.WEBP: "The picture of `.png`; without losses unless `quality` is set.",
        Format.NPY: "`images`, float32 (N, C, H, W), as numpy.save writes it.",
    }
)
_DRAWN_TEXT: Final = "Braille, at most 14 × 7 characters per image."
_TABLE: Final = "A table with a line for each image, for people."


class OperationPaths:
    """Generates the path items of operations."""

    def __init__(
        self, limits: Limits, model: ExampleModel, problems: ProblemResponses, everywhere: tuple[str, ...]
    ) -> None:
        self._limits = limits
        self._model = model
        self._problems = problems
        self._everywhere = everywhere

    def of(self, operation: Operation[Any, Any]) -> Schema:
        """The path, and the path with a suffix."""
        return {
            operation.path: self._path_item(operation, suffixed=False),
            operation.path + ".{suffix}": self._path_item(operation, suffixed=True),
        }

    def _path_item(self, operation: Operation[Any, Any], *, suffixed: bool) -> Schema:
        return {
            method.lower(): self._described(operation, method, suffixed=suffixed)
            for method in operation.methods
        }

    def _described(self, operation: Operation[Any, Any], method: str, *, suffixed: bool) -> Schema:
        described: Schema = {
            "operationId": "_".join((operation.name, method.lower(), *(["as"] if suffixed else []))),
            "tags": ["model"],
            "summary": operation.summary,
            "description": operation.description,
            "parameters": [
                *([_suffix(operation)] if suffixed else []),
                *query_parameters(operation.query, self._limits),
            ],
            "responses": {
                "200": _response(operation),
                **self._problems.of((*operation.all_problems, *self._everywhere)),
            },
        }
        if method == "POST":
            described["requestBody"] = request_body(operation, self._limits, self._model)
        return described


def _suffix(operation: Operation[Any, Any]) -> Schema:
    return path_parameter(
        "suffix",
        "Format of the response; it wins over Accept.",
        {"type": "string", "enum": [chosen.suffix for chosen in operation.formats]},
        operation.formats[0].suffix,
    )


def _response(operation: Operation[Any, Any]) -> Schema:
    answer = operation.answer
    headers = [*ALWAYS, "X-Model"]
    if operation.is_seeded:
        headers += ["X-Seed", "X-Z"] if "z" in answer.array_names else ["X-Seed"]
    headers += [header.name for header in answer.headers.values()]
    if issubclass(operation.query, ImagesQuery):
        headers += [PICTURE_HEADER, WARNING_HEADER]
    return {
        "description": operation.summary + ".",
        "headers": header_references(headers),
        "content": {
            chosen.media_type: {"schema": _content(operation, chosen)} for chosen in operation.formats
        },
    }


def _content(operation: Operation[Any, Any], chosen: Format) -> Schema:
    answer = operation.answer
    if chosen is Format.JSON:
        return schema_of(answer, components=SHARED)
    if chosen is Format.TEXT:
        return {"type": "string", "description": _DRAWN_TEXT if "images" in answer.array_names else _TABLE}
    return binary(chosen.media_type, answer.as_npz if chosen is Format.NPZ else _FILES[chosen])
