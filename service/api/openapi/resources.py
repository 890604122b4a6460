"""The paths of resources, which return one document or page.

Knows the declarations of resources, and none of them by name. Knows nothing of requests.
"""

from __future__ import annotations

from service.api.openapi.components import SHARED
from service.api.openapi.examples import ExampleModel
from service.api.openapi.headers import ALWAYS, header_references
from service.api.openapi.parameters import path_parameter
from service.api.openapi.problem_responses import EVERYWHERE, ProblemResponses
from service.api.resource import PathParameter, Resource
from service.api.schema import Schema, schema_of
from service.http.document import Document

#: Probes accept any host.
_OF_PROBES = "operation"


class ResourcePaths:
    """Generates the path items of resources."""

    def __init__(self, model: ExampleModel, problems: ProblemResponses, everywhere: tuple[str, ...]) -> None:
        self._model = model
        self._problems = problems
        self._everywhere = everywhere

    def of(self, resource: Resource, *, example: Document | None = None) -> Schema:
        """The path, without a body.

        Args:
            resource: The resource.
            example: Example of its JSON, if one is true for this server.
        """
        everywhere = EVERYWHERE if resource.tag == _OF_PROBES else self._everywhere
        content = {media: {"schema": _schema(answer)} for media, answer in resource.answer.items()}
        if example is not None:
            content["application/json"]["example"] = example.model_dump(mode="json")
        described: Schema = {
            "operationId": resource.operation_id,
            "tags": [resource.tag],
            "summary": resource.summary,
            **({"description": resource.description} if resource.description else {}),
            "parameters": [self._parameter(each) for each in resource.parameters],
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

    def _body(self, resource: Resource) -> Schema:
        content: Schema = {media: {"schema": schema} for media, schema in resource.body.items()}
        if resource.body_example is not None:
            content["application/json"]["example"] = resource.body_example
        return {"required": not resource.is_body_optional, "content": content}

    def _parameter(self, parameter: PathParameter) -> Schema:
        example = parameter.example
        if example is None:
            example = self._model.name + parameter.example_suffix
        return path_parameter(parameter.name, parameter.description, parameter.schema, example)


def _sentence(summary: str) -> str:
    return summary if summary.endswith((".", "?")) else summary + "."


def _schema(answer: type[Document] | Schema) -> Schema:
    return answer if isinstance(answer, dict) else schema_of(answer, components=SHARED)
