"""Paths that return one document and run no model: models, limits, problems, probes, pages.

Knows names, schemas and problems; the OpenAPI document is generated from them. A resource is in the module of
its handler. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.routing import Route

from service.api.schema import Schema
from service.http.document import Document
from service.references import REFERENCE_PATTERN

JSON: Final = "application/json"


def text(example: str) -> Schema:
    """The schema of a text, with an example of it."""
    return {"type": "string", "examples": [example]}


@dataclass(frozen=True)
class PathParameter:
    """A part of a path that a client fills in."""

    name: str
    description: str
    schema: Schema
    example: str | None = None
    """Left out: the name of the default model, and `example_suffix`."""
    example_suffix: str = ""


@dataclass(frozen=True)
class QueryParameter:
    """A parameter of the query of a path. A list is sent as one parameter for each of its items."""

    name: str
    description: str
    schema: Schema
    is_required: bool = False


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One path and its document."""

    path: str
    operation_id: str
    tag: str
    summary: str
    answer: Mapping[str, type[Document] | Schema]
    """Its response, by media type."""
    description: str = ""
    note: str = ""
    """A description for operators, at the end of the entry."""
    method: str = "GET"
    problems: tuple[str, ...] = ()
    """Codes of `problems.PROBLEMS` for this path, in addition to those of every path."""
    parameters: tuple[PathParameter, ...] = ()
    query: tuple[QueryParameter, ...] = ()
    headers: tuple[str, ...] = ()
    """Headers of the response, in addition to those of every response."""
    body: Mapping[str, Schema] = field(default_factory=dict)
    """Its request body, by media type; empty: it has none."""
    body_example: Mapping[str, object] | None = None
    """An example of its JSON body."""
    is_body_optional: bool = False
    is_open_inference: bool = False
    """Whether it belongs to the Open Inference Protocol, whose errors have another form."""


class ResourceRoutes(Protocol):
    """The handlers of some resources in one application."""

    @property
    def resources(self) -> Sequence[Resource]:
        """The resources."""

    def routes(self) -> list[Route]:
        """Each path with its handler."""


def named_model(description: str) -> PathParameter:
    """The part of a path that names a model."""
    return PathParameter("name", description, {"type": "string", "pattern": REFERENCE_PATTERN})
