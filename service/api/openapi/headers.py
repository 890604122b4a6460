"""Headers of answers, as the document describes them.

Knows names and texts. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.api.native.table import OPERATIONS
from service.api.schema import Schema

_BEFORE: Final = {
    "X-Request-Id": "Id in the server's log: the client's own if that is 1 to 64 of A-Z a-z 0-9 . _ : -",
    "Server-Timing": "Milliseconds spent reading, waiting, parsing, running and encoding, and in total.",
    "X-Model": "Label of the version that answered, `name@version`. On errors: if known by then.",
    "X-Seed": "The seed behind the answer; sent again, it gives the same bytes. On errors: if known by then.",
}
_AFTER: Final = {
    "X-Z": "For one image of at most 128 latents: its z, comma-separated.",
    "Allow": "Methods that the path takes.",
    "Accept-Post": "Media types that the path takes.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "Bearer, and why the key that was sent is not enough.",
}
_OF_OPERATIONS: Final = {
    header.name: header.description
    for operation in OPERATIONS
    for header in operation.answer.headers.values()
}
#: Every header of ours, with what it says.
HEADERS: Final = {**_BEFORE, **_OF_OPERATIONS, **_AFTER}
#: What a page of another origin may read of an answer, where `cors_origins` lets it.
EXPOSED_HEADERS: Final = tuple(HEADERS)
#: Headers of every answer.
ALWAYS: Final = ("X-Request-Id", "Server-Timing")


def header_components() -> Schema:
    """Everything under `components.headers`."""
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}


def header_references(names: Iterable[str]) -> Schema:
    """Headers of one response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
