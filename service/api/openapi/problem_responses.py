"""The error responses of a path: one for each status, described once.

Knows the table of problems. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.api.openapi.headers import ALWAYS, header_references
from service.api.schema import Components, Schema, reference
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
#: Problems after the choice of the model or of the seed, which the response then contains.
_AFTER_THE_CHOICE: Final = {
    "malformed-body",
    "invalid-value",
    "inference-failed",
    "model-unavailable",
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

    def of(self, codes: Iterable[str]) -> Schema:
        """One response for each status of some problems."""
        return {str(status): self._response(status, rows) for status, rows in sorted(statuses(codes).items())}

    def _response(self, status: int, rows: tuple[ProblemKind, ...]) -> Schema:
        headers = [*ALWAYS, *_HEADERS_BY_STATUS.get(status, ())]
        if any(row.code in _AFTER_THE_CHOICE for row in rows):
            headers += ["X-Model", "X-Seed"]
        response = {
            # The remedy of each is in its example.
            "description": "\n\n".join(f"`{row.code}`: {row.title}." for row in rows),
            "headers": header_references(headers),
            "content": {
                MEDIA_TYPE: {
                    "schema": reference("Problem"),
                    "examples": {row.code: self._example(row) for row in rows},
                }
            },
        }
        name = f"{status}_" + "_or_".join(row.code for row in rows)
        return self._components.add("responses", name, response)

    def _example(self, row: ProblemKind) -> Schema:
        value = _problem_example(row, self._prefix)
        return self._components.add("examples", row.code, {"summary": row.title, "value": value})


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
