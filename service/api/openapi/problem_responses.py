"""The error responses of a path: one for each status, described once.

Knows the table of problems. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from service.api.openapi.headers import ALWAYS, header_references
from service.api.resource import JSON
from service.api.schema import Components, Schema
from service.http.problem_documents import OpenInferenceProblem, Problem, open_inference_status
from service.http.problems import MEDIA_TYPE, ProblemKind, statuses, with_prefix

#: Problems of every path.
EVERYWHERE: Final = (
    "malformed-request",
    "method-not-allowed",
    "body-too-large",
    "head-too-large",
    "receipt-timeout",
    "too-many-connections",
    "internal-error",
    "shutting-down",
)
#: Problems of a request that cannot be read: their response has the same form for every path.
_UNREADABLE: Final = ("malformed-request", "head-too-large")
#: Problems after the choice of the model or of the seed, which the response then contains.
_AFTER_THE_CHOICE: Final = {
    "malformed-body",
    "invalid-value",
    "inference-failed",
    "model-unavailable",
    "no-preview",
    "too-busy",
    "deadline-exceeded",
}
_HEADERS_BY_STATUS: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Post",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


class ProblemResponses:
    """Refers to the responses of problems, which paths share, and to the examples, which responses share."""

    def __init__(self, components: Components, *, prefix: str) -> None:
        """`prefix` is the path that a proxy puts before every path here."""
        self._components = components
        self._prefix = prefix

    def of(self, codes: Iterable[str], *, open_inference: bool = False) -> Schema:
        """One response for each status of some problems.

        Args:
            codes: Codes of the problems.
            open_inference: Whether the path belongs to the Open Inference Protocol.
        """
        found = statuses(codes)
        response = self._response
        if open_inference:
            found, response = _as_open_inference(found), self._open_inference_response
        return {str(status): response(status, rows) for status, rows in sorted(found.items())}

    def _response(self, status: int, rows: tuple[ProblemKind, ...]) -> Schema:
        response = _around(status, rows, {MEDIA_TYPE: self._problem(rows)})
        return self._components.add("responses", _name(status, rows), response)

    def _open_inference_response(self, status: int, rows: tuple[ProblemKind, ...]) -> Schema:
        content: Schema = {
            JSON: {
                "schema": self._components.of(OpenInferenceProblem),
                "examples": {row.code: self._open_inference_example(row) for row in rows},
            }
        }
        # The server cannot know the path of a request that it cannot read.
        unreadable = tuple(row for row in rows if row.code in _UNREADABLE)
        if unreadable:
            content[MEDIA_TYPE] = self._problem(unreadable)
        name = f"v2_{_name(status, rows)}"
        return self._components.add("responses", name, _around(status, rows, content))

    def _problem(self, rows: Iterable[ProblemKind]) -> Schema:
        """The media type object."""
        return {
            "schema": self._components.of(Problem),
            "examples": {row.code: self._example(row) for row in rows},
        }

    def _example(self, row: ProblemKind) -> Schema:
        value = _problem_example(row, self._prefix)
        return self._components.add("examples", row.code, {"summary": row.title, "value": value})

    def _open_inference_example(self, row: ProblemKind) -> Schema:
        value = _open_inference_example(row, self._prefix)
        return self._components.add("examples", f"v2_{row.code}", {"summary": row.title, "value": value})


def _name(status: int, rows: Iterable[ProblemKind]) -> str:
    return f"{status}_" + "_or_".join(row.code for row in rows)


def _around(status: int, rows: Iterable[ProblemKind], content: Schema) -> Schema:
    """A response with this content."""
    headers = [*ALWAYS, *_HEADERS_BY_STATUS.get(status, ())]
    if any(row.code in _AFTER_THE_CHOICE for row in rows):
        headers += ["X-Model", "X-Seed"]
    return {
        # The remedy of each is in its example.
        "description": "\n\n".join(f"`{row.code}`: {row.title}." for row in rows),
        "headers": header_references(headers),
        "content": content,
    }


def _as_open_inference(
    found: Mapping[int, tuple[ProblemKind, ...]],
) -> Mapping[int, tuple[ProblemKind, ...]]:
    grouped: dict[int, list[ProblemKind]] = {}
    for rows in found.values():
        for row in rows:
            grouped.setdefault(open_inference_status(row), []).append(row)
    return {status: tuple(rows) for status, rows in grouped.items()}


def _open_inference_example(row: ProblemKind, prefix: str) -> Schema:
    remedy = with_prefix(row.remedy, prefix)
    return {
        "error": f"{row.title}. {remedy}",
        "code": row.code,
        "status": open_inference_status(row),
        "request_id": "9f2c1d7a40b3e856",
        "errors": [],
    }


def _problem_example(row: ProblemKind, prefix: str) -> Schema:
    return {
        "type": f"{prefix}/problems/{row.code}",
        "title": row.title,
        "status": row.status,
        "code": row.code,
        "detail": row.title + ".",
        "remedy": with_prefix(row.remedy, prefix),
        "request_id": "9f2c1d7a40b3e856",
        "errors": [],
    }
