"""The paths of resources, which return one document or page.

Knows the declarations of resources, and none of them by name. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Any

from service.api.openapi.examples import ExampleModel, example_document
from service.api.openapi.headers import ALWAYS, header_references
from service.api.openapi.parameters import path_parameter
from service.api.openapi.problem_responses import EVERYWHERE, ProblemResponses
from service.api.resource import PathParameter, Resource
from service.api.schema import Components, Schema
from service.http.document import COMPONENT, Document

#: Probes accept any host.
_OF_PROBES = "operation"


class ResourcePaths:
    """Generates the path items of resources."""

    def __init__(
        self,
        model: ExampleModel,
        problems: ProblemResponses,
        everywhere: tuple[str, ...],
        components: Components,
    ) -> None:
        self._model = model
        self._problems = problems
        self._everywhere = everywhere
        self._components = components

    def of(self, resource: Resource, *, example: Document | None = None) -> Schema:
        """The path, without a body.

        Args:
            resource: The resource.
            example: Example of its JSON, if one is true for this server.
        """
        everywhere = EVERYWHERE if resource.tag == _OF_PROBES else self._everywhere
        content = {media: self._content(answer, example) for media, answer in resource.answer.items()}
        described: Schema = {
            "operationId": resource.operation_id,
            "tags": [resource.tag],
            "summary": resource.summary,
            **({"description": resource.description} if resource.description else {}),
            "parameters": [self._parameter(each) for each in resource.parameters],
            "responses": {
                "200": {
                    "description": _sentence(resource.summary),
                    "headers": header_references((*ALWAYS, *resource.headers)),
                    "content": content,
                },
                **self._problems.of((*resource.problems, *everywhere)),
            },
            **({"description": resource.note} if resource.note else {}),
        }
        return {resource.path: {resource.method.lower(): described}}

    def _content(self, answer: type[Document] | Schema, example: Document | None) -> Schema:
        """The media type object."""
        if isinstance(answer, dict):
            schema = {key: value for key, value in answer.items() if key not in (COMPONENT, "examples")}
            if (name := answer.get(COMPONENT)) is not None:
                schema = self._components.add("schemas", name, {"title": name, **schema})
            return {"schema": schema, "example": answer["examples"][0]}
        schema = self._components.of(answer)
        value: Any = example_document(self._components.parts("schemas"), schema)
        return {"schema": schema, "example": example.model_dump(mode="json") if example else value}

    def _parameter(self, parameter: PathParameter) -> Schema:
        example = self._model.name if parameter.example is None else parameter.example
        return path_parameter(parameter.name, parameter.description, parameter.schema, example)


def _sentence(summary: str) -> str:
    return summary if summary.endswith((".", "?")) else summary + "."
