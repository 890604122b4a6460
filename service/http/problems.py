"""What went wrong, told as RFC 9457 problem bodies: the one table from error to status.

Knows every error class of the engine, the codecs and the edge, and the status, code and remedy of each.
Knows nothing of how an error came about. No other module writes a status of 400 or above.

A problem never repeats a client's text: a number that was out of range may be shown, a string only by its
length. `problem_documents` writes its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.codecs.errors import CodecError, MalformedBody
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
    NoPrior,
    TooBusy,
    UnknownLabel,
    UnknownModel,
)

MEDIA_TYPE = "application/problem+json"
MAX_ITEMS = 10
#: A path in a text for people always follows a method: a path without one may be that of a file.
_VERB = re.compile(r"\b(GET|POST) /")


@dataclass(frozen=True)
class ProblemKind:
    """One row of the table: a code that never changes, its status, and what a caller does about it."""

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
        "The body cannot be read as what it says it is",
        "Send the body whole and in the form that its Content-Type names; errors[] says where it broke.",
    ),
    ProblemKind(
        "missing-key",
        401,
        "This server takes API keys, and none was sent",
        "Send the header `Authorization: Bearer KEY`; whoever runs the server has the key.",
    ),
    ProblemKind(
        "unknown-key",
        401,
        "The Authorization header holds no key of this server",
        "Send the key whole and once, as `Authorization: Bearer KEY`, or ask for another.",
    ),
    ProblemKind(
        "administration-off",
        403,
        "This server takes no administration over HTTP",
        "Start it with a key file that holds a key of the scope admin (`vae-serve key --scope admin`).",
    ),
    ProblemKind(
        "insufficient-scope",
        403,
        "The key that was sent may not do this",
        "Send a key of the scope that WWW-Authenticate names.",
    ),
    ProblemKind(
        "host-not-allowed",
        403,
        "This server does not know the host name that it was called by",
        "Call it by localhost or an IP address, or have its operator add the name to VAE_ALLOWED_HOSTS.",
    ),
    ProblemKind(
        "origin-not-allowed",
        403,
        "A page of this origin may not make this call from a browser",
        "Have the server's operator add the origin to VAE_CORS_ORIGINS, and send only the headers it allows. "
        "Administration without a key takes no page but the server's own.",
    ),
    ProblemKind(
        "unknown-path",
        404,
        "There is nothing at this path",
        "GET / lists the endpoints, GET /docs describes them.",
    ),
    ProblemKind(
        "unknown-model",
        404,
        "No such model, version or alias",
        "GET /models lists what is there; ?model= takes name, name@version or name@alias.",
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
        "The answer does not exist in the form asked for",
        "Ask for one of the forms that errors[] lists, by suffix or by Accept.",
    ),
    ProblemKind(
        "receipt-timeout",
        408,
        "The request did not come whole within the time limit",
        "Send the request at once and without pauses; GET /limits tells the time limit.",
    ),
    ProblemKind(
        "body-too-large",
        413,
        "The body is longer than this server takes",
        "Send fewer images per request, or send them as application/x-npy, which is several times shorter.",
    ),
    ProblemKind(
        "media-type-not-supported",
        415,
        "The body is in a form that this endpoint does not take",
        "Send one of the forms that errors[] lists, uncompressed and not as multipart.",
    ),
    ProblemKind(
        "invalid-parameter",
        422,
        "A parameter is unknown, repeated or has a value that does not fit",
        "Correct the parameter that errors[] names.",
    ),
    ProblemKind(
        "invalid-value",
        422,
        "The body can be read, but a value in it does not fit",
        "Correct the value that errors[] names.",
    ),
    ProblemKind(
        "no-prior",
        422,
        "This model does not have the prior that was asked for, or has none",
        "Leave prior and label out for the best it has (GET /models); without any, use POST /reconstruct.",
    ),
    ProblemKind(
        "unknown-label",
        422,
        "This model draws no images of that label alone",
        "Ask for one of the labels that errors[] lists, or leave label out.",
    ),
    ProblemKind(
        "no-density",
        422,
        "This model gives no image a probability",
        "Score with a model of kind `vae` (GET /models), or compare an image with that of POST /reconstruct.",
    ),
    ProblemKind(
        "too-busy",
        429,
        "More is asked for than this server can do",
        "Send the request again after the seconds in Retry-After, or to another instance.",
    ),
    ProblemKind(
        "too-many-connections",
        429,
        "More connections are open than this server takes",
        "Use fewer connections and keep them open, or go to another instance.",
    ),
    ProblemKind(
        "head-too-large",
        431,
        "Request line and headers are longer than this server takes",
        "Send fewer and shorter headers; what is long belongs in the body.",
    ),
    ProblemKind(
        "internal-error",
        500,
        "The server made a mistake",
        "Report the request id to the operator: the log tells more under it. Trying again rarely helps.",
    ),
    ProblemKind(
        "inference-failed",
        500,
        "The model could not be run on this input",
        "Report the request id to the operator: the log tells more under it.",
    ),
    ProblemKind(
        "model-unavailable",
        503,
        "The model that was asked for cannot answer",
        "Use another version (GET /models), or have the operator run `vae-store verify`.",
    ),
    ProblemKind(
        "not-ready",
        503,
        "The server is not ready to answer",
        "Try again later; detail says what it waits for.",
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
        "The time limit of the request came before its result",
        "Send it again later or with fewer images; GET /limits tells the time limit.",
    ),
)

#: Domain error → code. The first row that fits counts, so a class stands before its parent.
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
    (InferenceFailed, "inference-failed"),
    (TooBusy, "too-busy"),
    (DeadlineExceeded, "deadline-exceeded"),
    (EngineStopped, "shutting-down"),
    (EngineError, "internal-error"),
)

#: Statuses that a caller may simply try again, and after how many seconds.
_RETRY_AFTER_S: Mapping[int, int] = MappingProxyType({503: 5})


@dataclass(frozen=True)
class Item:
    """One defect: where it is, what was expected, what came, and what to do."""

    where: str
    expected: str
    got: str
    remedy: str


class ProblemError(Exception):
    """Raised anywhere at the edge; becomes the answer."""

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
        """A problem with one defect, whose sentence is also the detail."""
        return cls(code, sentence(item), items=(item,))


def problem_of(error: Exception) -> ProblemError:
    """The problem that a domain error is, with each of its defects as an item."""
    code = next(code for kind, code in DOMAIN_ERRORS if isinstance(error, kind))
    if isinstance(error, CodecError):
        items = tuple(Item(d.where, d.expected, d.got, d.remedy) for d in error.defects)
        more = f" And {len(items) - 1} more." if len(items) > 1 else ""
        return ProblemError(code, sentence(items[0]) + more, items=items)
    if isinstance(error, InvalidInput):
        return ProblemError.of_item(code, Item(error.where, error.expected, error.got, error.remedy))
    if isinstance(error, UnknownModel):
        listed = ", ".join(error.available) or "none is loaded"
        item = Item("model", f"one of [{listed}]", "another name", "GET /models lists what is loaded.")
        return ProblemError.of_item(code, item)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooBusy) else {}
    return ProblemError(code, str(error), headers=headers)


def sentence(item: Item) -> str:
    """`images[2]: expected …, got …. Do …`."""
    return f"{item.where}: expected {item.expected}, got {item.got}. {item.remedy}".strip()


def problem_headers(error: ProblemError) -> dict[str, str]:
    """Headers that go with a problem: never cached, and when to come back where that is known."""
    headers = {"Cache-Control": "no-store", **error.headers}
    if error.kind.status in _RETRY_AFTER_S:
        headers.setdefault("Retry-After", str(_RETRY_AFTER_S[error.kind.status]))
    return headers


def table_text(prefix: str = "") -> str:
    """The table as people read it; its links begin with `prefix`."""
    rows = [f"{row.status}  {row.code:<26}{row.title}.\n{'':31}{row.remedy}" for row in PROBLEMS.values()]
    return with_prefix("\n".join(rows) + "\n", prefix)


def with_prefix(text: str, prefix: str) -> str:
    """`GET /limits` → `GET /vae/limits`, wherever a text for people says so."""
    return _VERB.sub(rf"\1 {prefix}/", text) if prefix else text


def statuses(codes: Iterable[str]) -> Mapping[int, tuple[ProblemKind, ...]]:
    """The rows of `codes` by status, in the order of the table."""
    wanted = set(codes)
    grouped: dict[int, list[ProblemKind]] = {}
    for row in PROBLEMS.values():
        if row.code in wanted:
            grouped.setdefault(row.status, []).append(row)
    return {status: tuple(rows) for status, rows in grouped.items()}
