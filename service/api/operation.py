"""The declaration of an operation: its path, its parameters, its answer and its handler.

Knows names and types. The skeleton in `endpoint` parses requests and writes responses by them, and the
OpenAPI document is generated from them. An operation is one module of `service.api.native`, with its
parameters, its answer and its handler; a line of `native.table` adds it to the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from service.api.answer import Answer
from service.api.call import Call, Outline, Q
from service.api.limit import FixedLimit
from service.api.parameters import NoParameters
from service.api.request_arrays import ArrayIn
from service.engine import Parts
from service.http.negotiation import Format
from service.http.parameters import Parameters
from service.http.request_body import BodyKind

A = TypeVar("A", bound=Answer)

#: Problems of every operation, in addition to those of every path.
_OF_EVERY_OPERATION: Final = (
    *("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
    *("no-graph", "inference-failed", "too-busy", "deadline-exceeded"),
    *("malformed-body", "body-too-large", "media-type-not-supported", "invalid-value"),
)
#: Kinds of body for images, each with curl's argument for it.
IMAGE_BODIES: Final[Mapping[BodyKind, str]] = MappingProxyType(
    {
        BodyKind.JSON: "-d @images.json",
        BodyKind.PNG: "--data-binary @digit.png",
        BodyKind.JPEG: "--data-binary @photo.jpg",
        BodyKind.WEBP: "--data-binary @photo.webp",
        BodyKind.FORM: "-F images=@one.png -F images=@two.jpg",
        BodyKind.ZIP: "--data-binary @pictures.zip",
        BodyKind.NPY: "--data-binary @images.npy",
        BodyKind.NPZ: "--data-binary @images.npz",
    }
)


@dataclass(eq=False, kw_only=True)
class Operation(Generic[Q, A]):
    """One path and its meaning."""

    path: str
    summary: str
    description: str
    query: type[Q]
    """Parameters of the query; those of `body` are among them."""
    answer: type[A]
    bodies: Mapping[BodyKind, str]
    """Kinds of body for POST, each with curl's argument for it."""
    methods: tuple[str, ...] = ("POST",)
    arrays: tuple[ArrayIn, ...] = ()
    """Arrays of a body, which contains exactly one of them."""
    is_array_optional: bool = False
    """Whether a body may be left out, or contain none of them."""
    company: tuple[ArrayIn, ...] = ()
    """Arrays that a body holds as well, each of them."""
    rows: int | None = None
    """Number of rows of the array, if it is fixed."""
    body: type[Parameters] = NoParameters
    """Parameters that a JSON body may contain instead of the query; one in both places is rejected."""
    problems: tuple[str, ...] = ()
    """Codes of `problems.PROBLEMS` for this operation, in addition to those of every operation."""
    limits: tuple[FixedLimit, ...] = ()
    """Its own, for GET /limits."""
    example: Mapping[str, object] = field(default_factory=dict)
    """Parameters in the document's example of a JSON body."""
    example_rows: int = 1
    """Rows of the arrays in the response to that example."""
    not_in_example: tuple[str, ...] = ()
    """Keys of other responses, which the response to that example does not have."""
    run: Callable[[Call[Q]], Awaitable[A | Parts]] = field(init=False, repr=False)
    """The handler; `handler` sets it."""
    outlined: Callable[[Call[Q]], Outline] = field(init=False, repr=False)
    """The response to HEAD, for an operation with GET; `outline` sets it."""

    def handler(
        self, function: Callable[[Call[Q]], Awaitable[A | Parts]]
    ) -> Callable[[Call[Q]], Awaitable[A | Parts]]:
        """Decorate the handler: a function from a call to an answer, or to the parts of a long one."""
        self.run = function
        return function

    def outline(self, function: Callable[[Call[Q]], Outline]) -> Callable[[Call[Q]], Outline]:
        """Decorate the function for the response to HEAD, which runs no model."""
        self.outlined = function
        return function

    @property
    def formats(self) -> tuple[Format, ...]:
        """Formats of the response, the default first. Each is also a suffix of the path."""
        return self.answer.formats

    @property
    def name(self) -> str:
        """The path as a word."""
        return self.path.strip("/")

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Codes of its problems, in addition to those of every path."""
        return (*_OF_EVERY_OPERATION, *self.problems)

    @property
    def is_seeded(self) -> bool:
        """Whether the response can depend on a seed, which `X-Seed` then contains."""
        return "seed" in self.answer.model_fields

    @property
    def is_body_required(self) -> bool:
        """Whether POST requires a body."""
        return bool(self.arrays) and not self.is_array_optional
