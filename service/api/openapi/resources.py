"""The paths of resources, which return one document or page.

Knows the declarations of resources, and none of them by name. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Any

from service.api.openapi.examples import ExampleModel, example_document
from service.api.openapi.headers import ALWAYS, header_references
from service.api.openapi.parameters import path_parameter, query_parameter
from service.api.openapi.problem_responses import EVERYWHERE, ProblemResponses
from service.api.resource import JSON, PathParameter, Resource
from service.api.schema import Components, Schema
from service.http.document import Document

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
        """The path.

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
            "parameters": [
                *(self._parameter(each) for each in resource.parameters),
                *(query_parameter(each, resource, self._components) for each in resource.query),
            ],
            **({"requestBody": self._body(resource)} if resource.body else {}),
            "responses": {
                "200": {
                    "description": _sentence(resource.summary),
                    "headers": header_references((*ALWAYS, *resource.headers)),
                    "content": content,
                },
                **self._problems.of(
                    (*resource.problems, *everywhere), open_inference=resource.is_open_inference
                ),
            },
            **({"description": resource.note} if resource.note else {}),
        }
        return {resource.path: {resource.method.lower(): described}}

    def _content(self, answer: type[Document] | Schema, example: Document | None) -> Schema:
        """The media type object."""
        if isinstance(answer, dict):
            schema = {key: value for key, value in answer.items() if key != "examples"}
            example_of = {"example": answer["examples"][0]} if "examples" in answer else {}
            return {"schema": self._components.named(schema), **example_of}
        schema = self._components.of(answer)
        value: Any = example_document(self._components.parts("schemas"), schema)
        return {"schema": schema, "example": example.model_dump(mode="json") if example else value}

    def _body(self, resource: Resource) -> Schema:
        content: Schema = {
            media: {"schema": self._components.named(schema)} for media, schema in resource.body.items()
        }
        if resource.body_example is not None:
            content[JSON]["example"] = resource.body_example
        return {"required": not resource.is_body_optional, "content": content}

    def _parameter(self, parameter: PathParameter) -> Schema:
        example = parameter.example
        if example is None:
            example = self._model.name + parameter.example_suffix
        return path_parameter(parameter.name, parameter.description, parameter.schema, example)


def _sentence(summary: str) -> str:
    return summary if summary.endswith((".", "?")) else summary + "."
