"""The paths of operations: parameters, bodies, formats, headers and problems of each.

The path of an operation is described with its JSON, and each other format as a path of its own: generated
clients have one type for one path. Knows the declarations of operations, and none of them by name. Knows
nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from service.api.openapi.examples import ExampleModel, example_answer, example_rows
from service.api.openapi.headers import ALWAYS, header_references
from service.api.openapi.parameters import query_parameters
from service.api.openapi.problem_responses import ProblemResponses
from service.api.openapi.request_bodies import binary, request_body
from service.api.operation import Operation
from service.api.parameters import ImagesQuery
from service.api.request_images import PICTURE_HEADER, WARNING_HEADER
from service.api.schema import Components, Schema, pascal
from service.codecs.text_art import braille
from service.codecs.text_table import table
from service.http.negotiation import Format
from service.http.parameters import Limits

_FILES: Final[Mapping[Format, str]] = MappingProxyType(
    {
        Format.PNG: "One image, or a contact sheet, row by row.",
        Format.JPEG: "The picture of `.png` with losses: `quality` sets how many.",
        Format.WEBP: "The picture of `.png`; without losses unless `quality` is set.",
        Format.NPY: "`images`, float32 (N, C, H, W), as numpy.save writes it.",
        Format.SAFETENSORS: "The arrays of the JSON answer as float32, for a cache of latents.",
    }
)
#: Names of formats in summaries, where they differ from the suffix.
_NAMES: Final[Mapping[Format, str]] = MappingProxyType(
    {Format.PNG: "PNG", Format.JPEG: "JPEG", Format.WEBP: "WebP", Format.TEXT: "text"}
)
_DRAWN_TEXT: Final = "Braille, at most 14 × 7 characters per image."
_TABLE: Final = "A table with a line for each image, for people."
_NOT_MODIFIED: Final = "The client has the response already: its `If-None-Match` contains the `ETag`."
#: The suffix chooses the format, so no header can ask for an unavailable one.
_ONLY_BY_ACCEPT: Final = "form-not-available"


class OperationPaths:
    """Generates the path items of operations."""

    def __init__(
        self,
        limits: Limits,
        model: ExampleModel,
        problems: ProblemResponses,
        everywhere: tuple[str, ...],
        components: Components,
    ) -> None:
        self._limits = limits
        self._model = model
        self._problems = problems
        self._everywhere = everywhere
        self._components = components

    def of(self, operation: Operation[Any, Any]) -> Schema:
        """The path of the JSON, and that of each other format."""
        return {_path(operation, chosen): self._path_item(operation, chosen) for chosen in operation.formats}

    def _path_item(self, operation: Operation[Any, Any], chosen: Format) -> Schema:
        return {method.lower(): self._described(operation, method, chosen) for method in operation.methods}

    def _described(self, operation: Operation[Any, Any], method: str, chosen: Format) -> Schema:
        name = _name(operation, chosen)
        is_first = method == operation.methods[0]
        problems = (*operation.all_problems, *self._everywhere)
        if chosen is not Format.JSON:
            problems = tuple(code for code in problems if code != _ONLY_BY_ACCEPT)
        described: Schema = {
            "operationId": name if is_first else f"{name}_{method.lower()}",
            "tags": ["model" if chosen is Format.JSON else "formats"],
            "summary": _summary(operation, chosen),
            "description": _description(operation, chosen),
            "parameters": query_parameters(operation, self._limits, self._components),
            "responses": {"200": self._response(operation, chosen), **self._problems.of(problems)},
        }
        if method == "GET":
            described["responses"] = self._with_not_modified(described["responses"])
        if method == "POST":
            described["requestBody"] = request_body(operation, self._limits, self._model, self._components)
        return described

    def _with_not_modified(self, responses: Schema) -> Schema:
        """The responses, and the one without a body for a cache that asks again."""
        response = {"description": _NOT_MODIFIED, "headers": header_references([*ALWAYS, "X-Model", "ETag"])}
        reference = self._components.add("responses", "not_modified", response)
        return {"200": responses["200"], "304": reference, **responses}

    def _response(self, operation: Operation[Any, Any], chosen: Format) -> Schema:
        """A reference to the response, which the methods of a path share."""
        answer = operation.answer
        headers = [*ALWAYS, "X-Model"]
        if operation.is_seeded:
            headers += ["X-Seed", "X-Z"] if "z" in answer.array_names else ["X-Seed"]
        headers += [header.name for header in answer.headers.values()]
        if issubclass(operation.query, ImagesQuery):
            headers += [PICTURE_HEADER, WARNING_HEADER]
        response = {
            "description": _summary(operation, chosen) + ".",
            "headers": header_references(headers),
            "content": {chosen.media_type: self._content(operation, chosen)},
        }
        return self._components.add("responses", _name(operation, chosen), response)

    def _content(self, operation: Operation[Any, Any], chosen: Format) -> Schema:
        answer = operation.answer
        if chosen is Format.JSON:
            schema = self._components.of(answer, name=f"{pascal(operation.name)}Response")
            return {"schema": schema, "example": self._example(operation)}
        if chosen is Format.TEXT:
            schema = {"type": "string", "description": _contents(operation, chosen)}
            return {"schema": schema, "example": self._example_text(operation)}
        return {"schema": binary(chosen.media_type, _contents(operation, chosen))}

    def _example(self, operation: Operation[Any, Any]) -> dict[str, Any]:
        """The JSON for the example of the body."""
        schemas = self._components.parts("schemas")
        whole = example_answer(
            operation.answer,
            schemas,
            schemas[f"{pascal(operation.name)}Response"],
            self._model,
            rows=operation.example_rows,
            facts=operation.example,
        )
        return {name: value for name, value in whole.items() if name not in operation.not_in_example}

    def _example_text(self, operation: Operation[Any, Any]) -> str:
        answer = operation.answer
        if "images" in answer.array_names:
            images = example_rows(operation.example_rows, self._model, is_images=True)
            return braille(np.array(images, np.float32)) + "\n"
        example = self._example(operation)
        columns = {name: np.array(example[name]) for name in answer.array_names if name in example}
        return table(columns, of="image") + "\n"


def _path(operation: Operation[Any, Any], chosen: Format) -> str:
    return operation.path if chosen is Format.JSON else f"{operation.path}.{chosen.suffix}"


def _name(operation: Operation[Any, Any], chosen: Format) -> str:
    return operation.name if chosen is Format.JSON else f"{operation.name}_{chosen.suffix}"


def _summary(operation: Operation[Any, Any], chosen: Format) -> str:
    if chosen is Format.JSON:
        return operation.summary
    return f"{operation.summary}, as {_NAMES.get(chosen, chosen.suffix)}"


def _description(operation: Operation[Any, Any], chosen: Format) -> str:
    if chosen is not Format.JSON:
        return f"The same as `{operation.path}`, in another format. {_contents(operation, chosen)}"
    others = ", ".join(f"`{_path(operation, other)}`" for other in operation.formats[1:])
    return (
        f"{operation.description}\n\nThe response is JSON. {others} give the same in other formats. At this "
        "path, an `Accept` header chooses among all of them."
    )


def _contents(operation: Operation[Any, Any], chosen: Format) -> str:
    """The contents of a response that is not JSON."""
    if chosen is Format.TEXT:
        return _DRAWN_TEXT if "images" in operation.answer.array_names else _TABLE
    if chosen is Format.NPZ:
        as_npz: str = operation.answer.as_npz
        return as_npz
    return _FILES[chosen]
