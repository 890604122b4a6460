"""The headers of responses in the document.

Knows names and texts. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.api.native.table import OPERATIONS
from service.api.remote.described import TILED_HEADER
from service.api.request_images import PICTURE_HEADER, WARNING_HEADER
from service.api.schema import Schema

_BEFORE: Final = {
    "X-Request-Id": "Id in the server's log: the client's own if that is 1 to 64 of A-Z a-z 0-9 . _ : -",
    "Server-Timing": "Milliseconds spent reading, waiting, parsing, running and encoding, and in total.",
    "X-Model": "Label of the version that answered, `name@version`. On errors: if known by then.",
    "X-Seed": "The seed of the response; sent again, it yields the same z, pixels and figures. On errors: if "
    "known by then.",
}
_AFTER: Final = {
    "X-Z": "For one image of at most 128 latents: its z, comma-separated.",
    "Inference-Header-Content-Length": "Bytes of JSON in the body, if tensors as bytes follow it.",
    PICTURE_HEADER: "For pictures: size before, fit, resampling, and whether it was inverted.",
    WARNING_HEADER: "For pictures: those that look dark on light to a model of light on dark, or inversely.",
    "shape": "For a raw tensor of the remote VAE: its shape, a JSON list.",
    "dtype": "For a raw tensor of the remote VAE: float16, bfloat16, float32 or uint8.",
    TILED_HEADER: "For an image that was computed in tiles: `exact` if they equal one run within 1e-5 of the "
    "range of pixels, otherwise `approximate`.",
    "ETag": "Names the bytes of a response to GET without chance. Sent in `If-None-Match`, it yields 304 "
    "without a body while they are the same.",
    "Allow": "Methods of the path.",
    "Accept-Post": "Media types that the path accepts.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "Bearer, and why the key of the request is not enough.",
}
_OF_OPERATIONS: Final = {
    header.name: header.description
    for operation in OPERATIONS
    for header in operation.answer.headers.values()
}
#: All headers of this server, with their descriptions.
HEADERS: Final = {**_BEFORE, **_OF_OPERATIONS, **_AFTER}
#: Response headers that pages of other origins may read, if `cors_origins` allows it.
EXPOSED_HEADERS: Final = tuple(HEADERS)
#: Headers of every response.
ALWAYS: Final = ("X-Request-Id", "Server-Timing")


def header_components() -> Schema:
    """Everything under `components.headers`."""
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}


def header_references(names: Iterable[str]) -> Schema:
    """Headers of one response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
