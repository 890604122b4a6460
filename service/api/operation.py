"""What each operation of the native API is: its path, what it takes, what it answers, and who does it.

Knows names and types; the skeleton in `endpoint` parses and answers by them, and the OpenAPI document is
written from them. An operation stands in one module of `service.api.native`, with its parameters, its answer
and its handler; a line of `native.table` puts it to service.
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

#: Problems that any operation can answer, besides those of every path.
_OF_EVERY_OPERATION: Final = (
    *("invalid-parameter", "unknown-model", "model-unavailable", "form-not-available"),
    *("inference-failed", "too-busy", "deadline-exceeded"),
    *("malformed-body", "body-too-large", "media-type-not-supported", "invalid-value"),
)
#: Kinds of body in which images come, each with curl's argument for it.
IMAGE_BODIES: Final[Mapping[BodyKind, str]] = MappingProxyType(
    {
        BodyKind.JSON: "-d @images.json",
        BodyKind.PNG: "--data-binary @digit.png",
        BodyKind.NPY: "--data-binary @images.npy",
    }
)


@dataclass(eq=False, kw_only=True)
class Operation(Generic[Q, A]):
    """One path and what it means."""

    path: str
    summary: str
    description: str
    query: type[Q]
    """Parameters of the query; those of `body` are among them."""
    answer: type[A]
    bodies: Mapping[BodyKind, str]
    """Kinds of body that POST takes, each with curl's argument for it."""
    methods: tuple[str, ...] = ("POST",)
    arrays: tuple[ArrayIn, ...] = ()
    """Arrays of which a body holds exactly one."""
    is_array_optional: bool = False
    """Whether a body may be left out, or hold none of them."""
    company: tuple[ArrayIn, ...] = ()
    """Arrays that a body holds as well, each of them."""
    rows: int | None = None
    """How many rows the array has, where that is fixed."""
    body: type[Parameters] = NoParameters
    """Parameters that a JSON body may hold as well as the query; one that comes in both is refused."""
    problems: tuple[str, ...] = ()
    """Codes of `problems.PROBLEMS` that it can answer, besides those of every operation."""
    limits: tuple[FixedLimit, ...] = ()
    """Its own, for GET /limits."""
    example: Mapping[str, object] = field(default_factory=dict)
    """Parameters in the document's example of a JSON body."""
    run: Callable[[Call[Q]], Awaitable[A | Parts]] = field(init=False, repr=False)
    """Does it; `handler` sets it."""
    outlined: Callable[[Call[Q]], Outline] = field(init=False, repr=False)
    """Says what HEAD answers, of an operation that takes GET; `outline` sets it."""

    def handler(
        self, function: Callable[[Call[Q]], Awaitable[A | Parts]]
    ) -> Callable[[Call[Q]], Awaitable[A | Parts]]:
        """Decorates the function that does it: a call to an answer, or to the parts of a long one."""
        self.run = function
        return function

    def outline(self, function: Callable[[Call[Q]], Outline]) -> Callable[[Call[Q]], Outline]:
        """Decorates the function that says what HEAD answers, without running a model."""
        self.outlined = function
        return function

    @property
    def formats(self) -> tuple[Format, ...]:
        """Formats of the answer, the default first. Each is also a suffix of the path."""
        return self.answer.formats

    @property
    def name(self) -> str:
        """The path as a word."""
        return self.path.strip("/")

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Codes that it can answer, besides those of every path."""
        return (*_OF_EVERY_OPERATION, *self.problems)

    @property
    def is_seeded(self) -> bool:
        """Whether the answer can depend on a seed, which `X-Seed` then contains."""
        return "seed" in self.answer.model_fields

    @property
    def is_body_required(self) -> bool:
        """Whether POST needs a body."""
        return bool(self.arrays) and not self.is_array_optional
