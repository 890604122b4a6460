"""Problems as gRPC reports them: a status code, a text, and trailing metadata.

Knows the table of problems and gRPC's codes. Knows nothing of the cause of an error. The metadata has the
code of the problem as text, and the places of the faults and the time to retry in Google's error model, which
clients read with `grpcio-status` and its siblings. Its size is bounded: clients accept 8 KB of metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from grpc import StatusCode

from service.api.open_inference.grpc.definitions import message
from service.http.problems import ProblemError, problem_headers

Metadata = tuple[tuple[str, str | bytes], ...]

#: Key of the code of a problem in the trailing metadata.
PROBLEM: Final = "x-problem"
DETAILS: Final = "grpc-status-details-bin"
#: gRPC's own clients wait for this time before they repeat a call (proposal A6).
PUSHBACK: Final = "grpc-retry-pushback-ms"
_DOMAIN: Final = "vae-service"
_MAX_TEXT_BYTES: Final = 800
_MAX_PART_BYTES: Final = 120
_MAX_VIOLATIONS: Final = 6

_BY_STATUS: Final = MappingProxyType(
    {
        400: StatusCode.INVALID_ARGUMENT,
        401: StatusCode.UNAUTHENTICATED,
        403: StatusCode.PERMISSION_DENIED,
        404: StatusCode.NOT_FOUND,
        405: StatusCode.UNIMPLEMENTED,
        406: StatusCode.INVALID_ARGUMENT,
        408: StatusCode.DEADLINE_EXCEEDED,
        413: StatusCode.RESOURCE_EXHAUSTED,
        415: StatusCode.INVALID_ARGUMENT,
        422: StatusCode.INVALID_ARGUMENT,
        429: StatusCode.RESOURCE_EXHAUSTED,
        431: StatusCode.RESOURCE_EXHAUSTED,
        500: StatusCode.INTERNAL,
        503: StatusCode.UNAVAILABLE,
        504: StatusCode.DEADLINE_EXCEEDED,
    }
)
#: gRPC has a code of its own for calls that a server does not have.
_BY_CODE: Final = MappingProxyType(dict.fromkeys(("unknown-path", "not-supported"), StatusCode.UNIMPLEMENTED))

_STATUS, _ANY, _RETRY, _ERROR, _BAD = (
    message(f"google.rpc.{name}") for name in ("Status", "Any", "RetryInfo", "ErrorInfo", "BadRequest")
)


def status_of(problem: ProblemError) -> StatusCode:
    """The code of a problem."""
    kind = problem.kind
    return _BY_CODE.get(kind.code) or _BY_STATUS.get(kind.status, StatusCode.UNKNOWN)


def text_of(problem: ProblemError) -> str:
    """Its text, on one line and bounded."""
    return _clip(problem.detail, _MAX_TEXT_BYTES)


def metadata_of(problem: ProblemError) -> Metadata:
    """Its trailing metadata."""
    retry = problem_headers(problem).get("Retry-After")
    entries: list[tuple[str, str | bytes]] = [(PROBLEM, problem.kind.code)]
    if retry is not None:
        entries += (("retry-after", retry), (PUSHBACK, f"{retry}000"))
    status: Any = _STATUS(code=status_of(problem).value[0], message=text_of(problem))
    for detail in _details(problem, retry):
        status.details.append(
            _ANY(
                type_url=f"type.googleapis.com/{detail.DESCRIPTOR.full_name}",
                value=detail.SerializeToString(),
            )
        )
    return (*entries, (DETAILS, status.SerializeToString()))


def _details(problem: ProblemError, retry: str | None) -> Iterator[Any]:
    error: Any = _ERROR(reason=problem.kind.code.replace("-", "_").upper(), domain=_DOMAIN)
    error.metadata["remedy"] = _clip(problem.kind.remedy, _MAX_PART_BYTES)
    yield error
    if retry is not None:
        info: Any = _RETRY()
        info.retry_delay.seconds = int(retry)
        yield info
    if problem.items and problem.kind.status < 500:
        bad: Any = _BAD()
        for item in problem.items[:_MAX_VIOLATIONS]:
            text = f"expected {item.expected}, got {item.got}. {item.remedy}".strip()
            bad.field_violations.add(
                field=_clip(item.where, _MAX_PART_BYTES), description=_clip(text, 2 * _MAX_PART_BYTES)
            )
        yield bad


def _clip(text: str, limit: int) -> str:
    """Cut `text` to `limit` UTF-8 bytes, without characters that cannot be printed."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    data = clean.encode("utf-8", "replace")
    return data.decode() if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "..."
