"""The error responses of a path: one for each status, described once.

Knows the table of problems. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from service.api.openapi.headers import ALWAYS, header_references
from service.api.resource import JSON
from service.api.schema import Schema, reference
from service.http.problem_documents import open_inference_status
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
    """Collects the responses that paths refer to."""

    def __init__(self, *, prefix: str) -> None:
        """`prefix` is the path that a proxy puts before every path here."""
        self._prefix = prefix
        self.components: dict[str, Schema] = {}
        """Everything under `components.responses`."""

    def of(self, codes: Iterable[str], *, open_inference: bool = False) -> Schema:
        """One response for each status of some problems.

        Args:
            codes: Codes of the problems.
            open_inference: Whether the path belongs to the Open Inference Protocol.
        """
        references: Schema = {}
        found = statuses(codes)
        if open_inference:
            found = _as_open_inference(found)
        for status, rows in sorted(found.items()):
            name = f"{status}_" + "_or_".join(row.code for row in rows)
            if open_inference:
                name = f"v2_{name}"
            response = _problem_response(status, rows, self._prefix, open_inference=open_inference)
            self.components.setdefault(name, response)
            references[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return references


def _as_open_inference(
    found: Mapping[int, tuple[ProblemKind, ...]],
) -> Mapping[int, tuple[ProblemKind, ...]]:
    grouped: dict[int, list[ProblemKind]] = {}
    for rows in found.values():
        for row in rows:
            grouped.setdefault(open_inference_status(row), []).append(row)
    return {status: tuple(rows) for status, rows in grouped.items()}


def _problem_response(
    status: int, rows: tuple[ProblemKind, ...], prefix: str, *, open_inference: bool
) -> Schema:
    headers = [*ALWAYS, *_HEADERS_BY_STATUS.get(status, ())]
    if any(row.code in _AFTER_THE_CHOICE for row in rows):
        headers += ["X-Model", "X-Seed"]
    content: Schema = {
        MEDIA_TYPE: {
            "schema": reference("Problem"),
            "examples": {row.code: {"value": _problem_example(row, prefix)} for row in rows},
        }
    }
    if open_inference:
        # The server cannot know the path of a request that it cannot read.
        unreadable = {MEDIA_TYPE: content[MEDIA_TYPE]} if any(row.code in _UNREADABLE for row in rows) else {}
        examples = {row.code: {"value": _open_inference_example(row, prefix)} for row in rows}
        content = {JSON: {"schema": reference("OpenInferenceProblem"), "examples": examples}, **unreadable}
    return {
        "description": "\n\n".join(f"`{row.code}`: {row.title}. {row.remedy}" for row in rows),
        "headers": header_references(headers),
        "content": content,
    }


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
