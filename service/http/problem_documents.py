"""Problems as JSON: the body of an error (RFC 9457) and the table of all codes.

Knows the table of problems. Knows nothing of the cause of an error. A body is at most `MAX_BODY_BYTES` long
and contains at most `MAX_ITEMS` items, for any request.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from service.http.document import COMPONENT, Document
from service.http.problems import MAX_ITEMS, PROBLEMS, ProblemError, ProblemKind, with_prefix

MAX_BODY_BYTES: Final = 8_000
_MAX_DETAIL_BYTES: Final = 1_200
_MAX_PART_BYTES: Final = 240
_BAD_REQUEST: Final = 400
_UNPROCESSABLE: Final = 422

ProblemCode = Annotated[str, Field(json_schema_extra={COMPONENT: "ProblemCode", "enum": list(PROBLEMS)})]
ProblemStatus = Annotated[int, Field(ge=400, le=599)]


class ProblemItem(Document):
    """One defect of a request."""

    where: str
    """Such as `images[2]` or `query: n`."""
    expected: str
    """The valid values."""
    got: str
    """The actual value, if it is a short scalar or name; otherwise its type and size."""
    remedy: str
    """The remedy."""


class Problem(Document):
    """RFC 9457. At most 8,000 bytes; never repeats a body."""

    type: str
    """Address, on this server, of the description of the code."""
    title: str
    """The meaning of the code, in words."""
    status: ProblemStatus
    code: ProblemCode
    """Stable; made for programs."""
    detail: str
    """The fault of this request."""
    remedy: str
    """The remedy for problems of this code."""
    request_id: str
    """The same as X-Request-Id."""
    errors: Annotated[list[ProblemItem], Field(max_length=MAX_ITEMS)]


class OpenInferenceProblem(Document):
    """The form of an error in the Open Inference Protocol, and what a program needs to handle it."""

    error: str
    """The fault of this request, and the remedy."""
    code: ProblemCode
    """Stable; made for programs."""
    status: ProblemStatus
    request_id: str
    """The same as X-Request-Id."""
    errors: Annotated[list[ProblemItem], Field(max_length=MAX_ITEMS)]


class ProblemRow(Document):
    """One row of the table of problems."""

    code: Annotated[ProblemCode, Field(examples=["not-ready"])]
    status: Annotated[ProblemStatus, Field(examples=[PROBLEMS["not-ready"].status])]
    title: Annotated[str, Field(examples=[PROBLEMS["not-ready"].title])]
    """Its meaning."""
    remedy: Annotated[str, Field(examples=[PROBLEMS["not-ready"].remedy])]
    """Its remedy."""


class ProblemTable(Document):
    """Every problem of this server."""

    problems: list[ProblemRow]


def problem_body(error: ProblemError, *, request_id: str, prefix: str = "") -> bytes:
    """The JSON of one problem: at most `MAX_BODY_BYTES` bytes for any error.

    Args:
        error: The problem.
        request_id: Id of the request in the log.
        prefix: Prefix of every link: the path that a proxy puts before this server's own.
    """
    kind = error.kind
    items = _items(error, prefix)
    problem = Problem(
        type=f"{prefix}/problems/{kind.code}",
        title=kind.title,
        status=kind.status,
        code=kind.code,
        detail=_clip(with_prefix(error.detail, prefix), _MAX_DETAIL_BYTES),
        remedy=with_prefix(kind.remedy, prefix),
        request_id=request_id,
        errors=items,
    )
    return _bounded(problem, items)


def open_inference_body(error: ProblemError, *, request_id: str, prefix: str = "") -> bytes:
    """The same problem for a client of the Open Inference Protocol: its sentence is the value of `error`.

    Args:
        error: The problem.
        request_id: Id of the request in the log.
        prefix: Prefix of every link.
    """
    # The sentence of an item has its remedy; any other detail needs that of the code.
    text = error.detail if error.items else f"{error.detail} {error.kind.remedy}"
    items = _items(error, prefix)
    problem = OpenInferenceProblem(
        error=_clip(with_prefix(text, prefix), _MAX_DETAIL_BYTES),
        code=error.kind.code,
        status=open_inference_status(error.kind),
        request_id=request_id,
        errors=items,
    )
    return _bounded(problem, items)


def open_inference_status(kind: ProblemKind) -> int:
    """The status of a problem for such a client: every fault of a request is 400."""
    return _BAD_REQUEST if kind.status == _UNPROCESSABLE else kind.status


def _items(error: ProblemError, prefix: str) -> list[ProblemItem]:
    return [
        ProblemItem(
            where=_clip(item.where),
            expected=_clip(item.expected),
            got=_clip(item.got),
            remedy=_clip(with_prefix(item.remedy, prefix)),
        )
        for item in error.items[:MAX_ITEMS]
    ]


def _bounded(problem: Problem | OpenInferenceProblem, items: list[ProblemItem]) -> bytes:
    """The JSON, with as many items as fit."""
    body = problem.to_json()
    while len(body) > MAX_BODY_BYTES and items:
        items.pop()
        body = problem.model_copy(update={"errors": items}).to_json()
    return body


def problem_row(kind: ProblemKind, *, prefix: str = "") -> ProblemRow:
    """One row of the table; its links begin with `prefix`."""
    remedy = with_prefix(kind.remedy, prefix)
    return ProblemRow(code=kind.code, status=kind.status, title=kind.title, remedy=remedy)


def problem_table(*, prefix: str = "") -> ProblemTable:
    """The whole table."""
    return ProblemTable(problems=[problem_row(kind, prefix=prefix) for kind in PROBLEMS.values()])


def _clip(text: str, limit: int = _MAX_PART_BYTES) -> str:
    """Cut `text` to `limit` UTF-8 bytes and replace characters that JSON would escape at length."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    data = clean.encode("utf-8", "replace")
    return clean if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "..."
