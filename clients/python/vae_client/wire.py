"""One request and its answer, as values.

Knows paths, headers and bodies of the API. Knows nothing of the library that sends them, and never waits.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from numpy.typing import NDArray

from vae_client import arrays
from vae_client.errors import UnexpectedAnswer, VaeError, other_version, refused, shift_rows
from vae_client.results import Timing

NPY = "application/x-npy"
NPZ = "application/x-npz"
JSON = "application/json"


@dataclass(frozen=True)
class Body:
    """The content of a request: bytes of one type, or the files of a form."""

    content: bytes = b""
    content_type: str = ""
    files: Sequence[tuple[str, tuple[str, bytes, str]]] = ()
    """Field, and the name, bytes and type of its file."""


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    first_row: int = 0
    """Index of its first row in the arrays of the caller."""
    version: str | None = None
    """Label of the version of the latents in it; None if it has none, or they do not state any."""

    def arguments(self) -> dict[str, Any]:
        """Arguments for `httpx2.Client.build_request`, new for each try."""
        made: dict[str, Any] = {"method": self.method, "params": dict(self.query)}
        if self.body is None:
            return made
        if self.body.files:
            return made | {"files": list(self.body.files)}
        return made | {"content": self.body.content, "headers": {"Content-Type": self.body.content_type}}


@dataclass(frozen=True)
class Answer:
    """The answer to a request, with a status below 400."""

    call: Call
    headers: Mapping[str, str]
    """With names in lower case."""
    content: bytes
    elapsed_s: float
    tries: int = 1

    @property
    def model(self) -> str:
        """Label of the version that answered."""
        try:
            return self.headers["x-model"]
        except KeyError:
            raise UnexpectedAnswer(
                f"Expected a header X-Model in the answer to {self.call.path}, got none. Is the address that "
                "of a VAE service, and does its proxy keep the headers?"
            ) from None

    @property
    def request_id(self) -> str | None:
        """Id of the request in the log of the server."""
        return self.headers.get("x-request-id")

    @property
    def timing(self) -> Timing:
        """Times of the request."""
        return Timing(self.elapsed_s, _server_timing(self.headers.get("server-timing", "")), self.tries)

    @property
    def pictures(self) -> str | None:
        """How pictures were read."""
        return self.headers.get("x-picture")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of the server, with the rows of the caller."""
        warning = self.headers.get("x-warning")
        return () if warning is None else (shift_rows(warning, self.call.first_row),)

    def npz(self) -> dict[str, NDArray[Any]]:
        """Its arrays, if it is an npz file."""
        self._expect(NPZ)
        return arrays.from_npz(self.content)

    def npy(self) -> NDArray[Any]:
        """Its array, if it is an npy file."""
        self._expect(NPY)
        return arrays.from_npy(self.content)

    def json(self) -> Any:
        """Its value, if it is JSON."""
        self._expect(JSON)
        return json.loads(self.content)

    def _expect(self, media_type: str) -> None:
        got = self.headers.get("content-type", "no type").partition(";")[0]
        if got != media_type:
            raise UnexpectedAnswer(
                f"Expected {media_type} from {self.call.path}, got {got}. "
                "Is the address that of a VAE service?"
            )


R = TypeVar("R")
#: A call of the client: it yields requests, receives their answers, and returns a result.
Plan = Generator[Call, Answer, R]


def _server_timing(header: str) -> dict[str, float]:
    """`queue;dur=0.1, run;dur=2` → {"queue": 0.1, "run": 2.0}, in milliseconds."""
    found = {}
    for part in header.split(","):
        name, _, duration = part.strip().partition(";dur=")
        try:
            found[name] = float(duration)
        except ValueError:
            continue
    return found


def problem(call: Call, status: int, headers: Mapping[str, str], content: bytes, tries: int) -> VaeError:
    """The error of an answer with a status of 300 or more.

    Latents of another version may be refused for their size: the reason is the version then.
    """
    model = headers.get("x-model")
    if call.version is not None and model is not None and call.version != model:
        return other_version(call.version, model)
    if status < 400:
        detail = (
            f"{call.path} redirects to {headers.get('location')}. Use that address as the url of the client."
        )
        return refused(
            400, {"code": "redirected", "detail": detail}, text="", headers=headers, retry_after_s=None,
            first_row=0, tries=tries,
        )  # fmt: skip
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return refused(
        status,
        body,
        text=content[:2_000].decode("utf-8", "replace"),
        headers=headers,
        retry_after_s=_retry_after_s(headers.get("retry-after")),
        first_row=call.first_row,
        tries=tries,
    )


def _retry_after_s(header: str | None) -> float | None:
    """Seconds, which the header states as a number or as a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
