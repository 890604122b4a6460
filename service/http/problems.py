"""RFC 9457 problem bodies: the one table from domain error to HTTP status.

Knows every error class of the engine, the codecs and the edge, and the status, code and remedy of each. Knows
nothing of the cause of an error. No other module writes a status of 400 or above.

A problem contains short names and numbers that the client sent, escaped and cut (`echo`), and never a body.
`problem_documents` writes its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model_store.echo import did_you_mean, echo
from service.codecs.errors import MAX_DEFECTS, CodecError, Defect, MalformedBody
from service.engine.errors import (
    DeadlineExceeded,
    EngineError,
    EngineStopped,
    InferenceFailed,
    InvalidInput,
    InvalidModelReference,
    InvalidParameter,
    LabelNotApplicable,
    ModelUnavailable,
    NoDensity,
    NoGraph,
    NoPrior,
    NoThresholds,
    TooBusy,
    UnknownLabel,
    UnknownModel,
)

MEDIA_TYPE = "application/problem+json"
MAX_ITEMS = MAX_DEFECTS
#: In a text for people a path always follows a method. A path without one may be the path of a file.
_VERB = re.compile(r"\b(GET|POST) /")


@dataclass(frozen=True)
class ProblemKind:
    """One row of the table: a code that never changes, its status, and the remedy for the caller."""

    code: str
    status: int
    title: str
    remedy: str


def _table(*rows: ProblemKind) -> Mapping[str, ProblemKind]:
    return MappingProxyType({row.code: row for row in rows})


PROBLEMS: Mapping[str, ProblemKind] = _table(
    ProblemKind(
        "malformed-request",
        400,
        "The request is not valid HTTP",
        "Send a well-formed HTTP/1.1 request.",
    ),
    ProblemKind(
        "malformed-body",
        400,
        "The body does not match its Content-Type",
        "Send the whole body in the format that its Content-Type names; errors[] names the place of the "
        "fault.",
    ),
    ProblemKind(
        "not-supported",
        400,
        "This server does not have this part of the Open Inference Protocol",
        "Use the calls that GET /docs lists under open-inference.",
    ),
    ProblemKind(
        "missing-key",
        401,
        "This server requires an API key, and the request has none",
        "Send the header `Authorization: Bearer KEY`; the operator of the server issues keys.",
    ),
    ProblemKind(
        "unknown-key",
        401,
        "The Authorization header does not contain a key of this server",
        "Send one complete key, as `Authorization: Bearer KEY`, or request a new one.",
    ),
    ProblemKind(
        "administration-off",
        403,
        "Administration over HTTP is off",
        "Start the server with a key file that contains a key of the scope admin (`vae-serve key --scope "
        "admin`).",
    ),
    ProblemKind(
        "insufficient-scope",
        403,
        "The API key does not have the scope for this request",
        "Send a key of the scope that WWW-Authenticate names.",
    ),
    ProblemKind(
        "host-not-allowed",
        403,
        "This server does not accept this host name",
        "Use localhost or an IP address, or have the operator add the name to VAE_ALLOWED_HOSTS.",
    ),
    ProblemKind(
        "origin-not-allowed",
        403,
        "Pages of this origin may not send this request from a browser",
        "Have the operator add the origin to VAE_CORS_ORIGINS, and send only the headers that the server "
        "allows. Without API keys, only the server's own pages may administrate it.",
    ),
    ProblemKind(
        "unknown-path",
        404,
        "No endpoint has this path",
        "GET / lists the endpoints, GET /docs describes them.",
    ),
    ProblemKind(
        "unknown-model",
        404,
        "No such model, version or alias",
        "GET /models lists the models; ?model= takes name, name@version or name@alias.",
    ),
    ProblemKind(
        "method-not-allowed",
        405,
        "The path exists, but not for this method",
        "Use a method that the Allow header names.",
    ),
    ProblemKind(
        "form-not-available",
        406,
        "The response is not available in the requested format",
        "Request one of the formats that errors[] lists, by suffix or by Accept.",
    ),
    ProblemKind(
        "receipt-timeout",
        408,
        "The request did not arrive completely within the time limit",
        "Send the request without pauses; GET /limits lists the time limit.",
    ),
    ProblemKind(
        "body-too-large",
        413,
        "The body exceeds the size limit of this server",
        "Send fewer images per request, or send them as application/x-npy, which is several times shorter.",
    ),
    ProblemKind(
        "media-type-not-supported",
        415,
        "This endpoint does not accept the format of the body",
        "Send one of the formats that errors[] lists, uncompressed.",
    ),
    ProblemKind(
        "invalid-parameter",
        422,
        "A parameter is unknown, repeated or has an invalid value",
        "Correct the parameter that errors[] names.",
    ),
    ProblemKind(
        "invalid-value",
        422,
        "The body contains an invalid value",
        "Correct the value that errors[] names.",
    ),
    ProblemKind(
        "no-prior",
        422,
        "This model does not have the requested prior",
        "Leave out prior and label to use the model's best prior (GET /models). A model without priors "
        "offers POST /reconstruct.",
    ),
    ProblemKind(
        "unknown-label",
        422,
        "This model has no prior for this label",
        "Use one of the labels that errors[] lists, or leave out label.",
    ),
    ProblemKind(
        "no-density",
        422,
        "This model assigns no probability to images",
        "Score with a model of kind `vae` (GET /models), or compare an image with that of POST /reconstruct.",
    ),
    ProblemKind(
        "no-graph",
        422,
        "This model was imported without its encoder or without its decoder",
        "Use a model with both (GET /models/{name} lists the graphs of an imported one).",
    ),
    ProblemKind(
        "no-thresholds",
        422,
        "This version has no thresholds of scores",
        "Leave out flag, or have the operator run `vae-store calibrate` with normal images.",
    ),
    ProblemKind(
        "no-preview",
        404,
        "This version has no preview",
        "Ask for a version whose `preview` is true (GET /models), or add one: vae-train add-preview.",
    ),
    ProblemKind(
        "too-busy",
        429,
        "The server is overloaded",
        "Repeat the request after the seconds in Retry-After, or send it to another instance.",
    ),
    ProblemKind(
        "too-many-connections",
        429,
        "The server has too many open connections",
        "Use fewer connections and keep them open, or use another instance.",
    ),
    ProblemKind(
        "head-too-large",
        431,
        "The request line and headers exceed the size limit of this server",
        "Send fewer and shorter headers; long values belong in the body.",
    ),
    ProblemKind(
        "internal-error",
        500,
        "The server failed",
        "Report the request id to the operator: the log has details under this id. A retry rarely helps.",
    ),
    ProblemKind(
        "inference-failed",
        500,
        "The model failed on this input",
        "Report the request id to the operator: the log has details under this id.",
    ),
    ProblemKind(
        "model-unavailable",
        503,
        "The requested model cannot be served",
        "Use another version (GET /models), or have the operator run `vae-store verify`.",
    ),
    ProblemKind(
        "not-ready",
        503,
        "The server is not ready",
        "Try again later; detail names the reason.",
    ),
    ProblemKind(
        "shutting-down",
        503,
        "The server is stopping",
        "Send the request to another instance, or try again in a few seconds.",
    ),
    ProblemKind(
        "deadline-exceeded",
        504,
        "The request exceeded its time limit",
        "Repeat the request later or with fewer images; GET /limits lists the time limit.",
    ),
)

#: Domain error → code. The first matching row counts, so a class stands before its parent.
DOMAIN_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (MalformedBody, "malformed-body"),
    (CodecError, "invalid-value"),
    (InvalidModelReference, "invalid-parameter"),
    (InvalidParameter, "invalid-parameter"),
    (LabelNotApplicable, "invalid-parameter"),
    (UnknownLabel, "unknown-label"),
    (InvalidInput, "invalid-value"),
    (UnknownModel, "unknown-model"),
    (ModelUnavailable, "model-unavailable"),
    (NoPrior, "no-prior"),
    (NoDensity, "no-density"),
    (NoGraph, "no-graph"),
    (NoThresholds, "no-thresholds"),
    (InferenceFailed, "inference-failed"),
    (TooBusy, "too-busy"),
    (DeadlineExceeded, "deadline-exceeded"),
    (EngineStopped, "shutting-down"),
    (EngineError, "internal-error"),
)

#: Statuses that a caller may retry, and after how many seconds.
_RETRY_AFTER_S: Mapping[int, int] = MappingProxyType({503: 5})


#: One defect of a request, at any floor: its place, the expected value, the actual value, and the remedy.
Item = Defect


class ProblemError(Exception):
    """An error at the HTTP edge, which becomes the response."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        items: Iterable[Item] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = PROBLEMS[code]
        self.detail = detail
        self.items = tuple(items)
        self.headers = dict(headers or {})
        super().__init__(f"{code}: {detail}")

    @classmethod
    def of_item(cls, code: str, item: Item) -> ProblemError:
        """A problem with one defect. Its sentence is also the detail."""
        return cls(code, str(item), items=(item,))


def problem_of(error: Exception) -> ProblemError:
    """Translate a domain error into a problem; each of its defects becomes an item."""
    code = next(code for kind, code in DOMAIN_ERRORS if isinstance(error, kind))
    if isinstance(error, CodecError):
        first, *others = error.defects
        more = f" And {len(others)} more." if others else ""
        return ProblemError(code, f"{first}{more}", items=error.defects)
    if isinstance(error, InvalidInput):
        return ProblemError.of_item(code, Item(error.where, error.expected, error.got, error.remedy))
    if isinstance(error, UnknownModel):
        available = ", ".join(error.available) or "none is loaded"
        available += f" and {error.left_out} more" if error.left_out else ""
        hint = did_you_mean(error.reference, error.available)
        remedy = f"{hint} GET /models lists all models.".strip()
        return ProblemError.of_item(
            code, Item("model", f"one of [{available}]", echo(error.reference), remedy)
        )
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooBusy) else {}
    return ProblemError(code, str(error), headers=headers)


def problem_headers(error: ProblemError) -> dict[str, str]:
    """Headers of a problem: `Cache-Control: no-store`, and `Retry-After` for statuses that allow a retry."""
    headers = {"Cache-Control": "no-store", **error.headers}
    if error.kind.status in _RETRY_AFTER_S:
        headers.setdefault("Retry-After", str(_RETRY_AFTER_S[error.kind.status]))
    return headers


def table_text(prefix: str = "") -> str:
    """The table as text for people; its links begin with `prefix`."""
    rows = [f"{row.status}  {row.code:<26}{row.title}.\n{'':31}{row.remedy}" for row in PROBLEMS.values()]
    return with_prefix("\n".join(rows) + "\n", prefix)


def with_prefix(text: str, prefix: str) -> str:
    """`GET /limits` → `GET /vae/limits`, for every method and path in a text for people."""
    return _VERB.sub(rf"\1 {prefix}/", text) if prefix else text


def statuses(codes: Iterable[str]) -> Mapping[int, tuple[ProblemKind, ...]]:
    """The rows of `codes` by status, in the order of the table."""
    wanted = set(codes)
    grouped: dict[int, list[ProblemKind]] = {}
    for row in PROBLEMS.values():
        if row.code in wanted:
            grouped.setdefault(row.status, []).append(row)
    return {status: tuple(rows) for status, rows in grouped.items()}
