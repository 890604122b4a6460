"""The errors of the client: one class for each thing that a caller handles differently.

Knows statuses and problem bodies (RFC 9457). Knows nothing of connections or arrays.

    VaeError
    ├── InvalidInput          an argument cannot be sent; no request was made
    │   └── NotSplittable     a batch is above a limit, and its parts would not give the same result
    ├── VersionMismatch       latents of one version, and another version
    ├── ConnectionFailed      no complete answer
    │   └── TimedOut          not within the time limit of the client
    ├── UnexpectedAnswer      an answer that no such server gives: is the address right?
    └── Refused               the server answered with a problem
        ├── InvalidRequest    400, 405, 406, 413, 415, 422, 431
        ├── AccessDenied      401, 403
        ├── NotFound          404
        ├── Overloaded        408, 429, 503, 504: later it may work
        └── ServerFailed      every other status
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ROW = re.compile(r"\b(images|z)\[(\d+)\]")


class VaeError(Exception):
    """Parent of every error of this package."""


class InvalidInput(VaeError, ValueError):
    """An argument cannot be sent. No request was made."""


class NotSplittable(InvalidInput):
    """A batch exceeds a limit of the server, and several requests would not give the same result."""


class VersionMismatch(VaeError, ValueError):
    """Latents of one version were sent to another, where they mean nothing."""


class ConnectionFailed(VaeError, ConnectionError):
    """The server gave no complete answer."""


class TimedOut(ConnectionFailed, TimeoutError):
    """The server did not answer within `timeout_s` of the client."""


class UnexpectedAnswer(VaeError):
    """The answer is not one of a VAE service."""


@dataclass(frozen=True)
class Item:
    """One fault of a request."""

    where: str
    """Such as `images[2]` or `query: n`."""
    expected: str
    got: str
    remedy: str


class Refused(VaeError):
    """The server answered with a problem."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        remedy: str = "",
        items: tuple[Item, ...] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
        tries: int = 1,
    ) -> None:
        """A problem of the server.

        Args:
            status: Status of the answer.
            code: The stable code of the problem, such as `unknown-label`.
            detail: The fault of this request.
            remedy: What to do.
            items: Up to ten single faults.
            request_id: Id of the request in the log of the server.
            retry_after_s: Seconds after which the server expects the request again, if it stated any.
            tries: Number of times that the request was sent.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.items = items
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.tries = tries

    def __reduce__(self) -> tuple[Any, ...]:
        # The default passes `args` alone to a constructor that needs more, so a pool of processes would hang.
        return _copied, (type(self), dict(self.__dict__))

    def __str__(self) -> str:
        text = f"{self.code} ({self.status}): {self.detail}"
        if self.remedy and not self.items:
            text += f" {self.remedy}"
        if self.tries > 1:
            text += f" Sent {self.tries} times."
        return text if self.request_id is None else f"{text} [request {self.request_id}]"


def _copied(kind: type[Refused], facts: dict[str, Any]) -> Refused:
    made = kind.__new__(kind, facts["detail"])
    made.__dict__.update(facts)
    return made


class InvalidRequest(Refused):
    """The request is wrong and stays wrong: `items` has the places."""


class AccessDenied(Refused):
    """The key is missing, unknown or not enough."""


class NotFound(Refused):
    """No such model, version, alias or path."""


class Overloaded(Refused):
    """The server does not answer now. The client has already repeated the request as its `Retry` allows."""


class ServerFailed(Refused):
    """The server failed. `request_id` leads its operator to the details."""


def _class_of(status: int) -> type[Refused]:
    if status in (401, 403):
        return AccessDenied
    if status == 404:
        return NotFound
    if status in (408, 429, 503, 504):
        return Overloaded
    return InvalidRequest if 400 <= status < 500 else ServerFailed


def refused(
    status: int,
    body: Any,
    *,
    text: str,
    headers: Mapping[str, str],
    retry_after_s: float | None,
    first_row: int,
    tries: int,
) -> Refused:
    """The error of an answer with a status of 400 or more.

    Args:
        status: The status.
        body: Its body as parsed JSON; None if it is no JSON, as from a proxy.
        text: Its body as text.
        headers: Its headers.
        retry_after_s: `Retry-After` in seconds.
        first_row: Index of the first row of the request in the arrays of the caller: the places of the server
            count from there.
        tries: Number of times that the request was sent.
    """
    about: dict[str, Any] = {
        "request_id": headers.get("x-request-id"),
        "retry_after_s": retry_after_s,
        "tries": tries,
    }
    if not isinstance(body, dict) or "code" not in body:
        shown = " ".join(re.sub(r"<[^>]*>", " ", text).split())[:200] or "no text"
        return _class_of(status)(
            status=status,
            code=f"http-{status}",
            detail=f"The answer is no problem of a VAE service, perhaps one of a proxy: {shown}.",
            **about,
        )
    items = tuple(
        Item(
            where=shift_rows(str(each.get("where", "")), first_row),
            expected=str(each.get("expected", "")),
            got=str(each.get("got", "")),
            remedy=str(each.get("remedy", "")),
        )
        for each in body.get("errors", ())
        if isinstance(each, dict)
    )
    return _class_of(status)(
        status=status,
        code=str(body["code"]),
        detail=shift_rows(str(body.get("detail", "")), first_row),
        remedy=str(body.get("remedy", "")),
        items=items,
        **about,
    )


def other_version(latents: str, server: str) -> VersionMismatch:
    """The error of latents of the version `latents` for a server that answers with `server`."""
    return VersionMismatch(
        f"The latents are of {latents}, and {server} would read them. Latents mean nothing to another "
        f"version. Use Client(model={latents!r}), or encode the images again."
    )


def shift_rows(text: str, first_row: int) -> str:
    """`images[3]` of a part that begins at row 256 is `images[259]` of the caller."""
    if first_row == 0:
        return text
    return _ROW.sub(lambda found: f"{found[1]}[{int(found[2]) + first_row}]", text)
