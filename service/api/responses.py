"""From the answer of an operation to a response, in the chosen format.

Knows formats and the codec of each. Knows nothing of models or of the origin of the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from model_store.reference import version_number
from service.api.answer import Answer
from service.api.parameters import Drawing
from service.codecs.images import MAX_SIDE_PIXELS, encode_lossy, encode_png, plan_sheet
from service.codecs.safetensors_file import encode_safetensors
from service.codecs.tensors import encode_npy, encode_npz, npy_header
from service.codecs.text_art import braille
from service.codecs.text_table import table
from service.engine import CallerDisconnected, Parts
from service.http.caching import Reuse, cache_control, vary_by
from service.http.compression import is_text
from service.http.document import Document, json_bytes
from service.http.negotiation import Format
from service.observability.request_trace import current_trace

#: Digits per row of text: 5 × 14 cells and the gaps fit a terminal of 80 columns.
TEXT_COLUMNS = 5
#: Longest latent in the X-Z header, for a single image.
MAX_HEADER_LATENT = 128

#: Maximum amount to write on the event loop, by format: about half a millisecond of work. Values of JSON,
#: pixels of a PNG, images of text; npy and npz are copies.
_QUICK_VALUES = 20_000
_QUICK_PIXELS = 10_000
_QUICK_TEXTS = 20
_QUICK_COPIES = 500_000

#: Pictures whose formats limit their sides.
_LIMITED_SIDES = (Format.JPEG, Format.WEBP)

_CONTENT_TYPES = {form: (b"content-type", form.content_type.encode("ascii")) for form in Format}
#: A format chosen by Accept may not be reused for a request with another Accept; text may be compressed too.
_VARY = {
    form: (b"vary", b"Accept, Accept-Encoding" if is_text(form.content_type.encode("ascii")) else b"Accept")
    for form in Format
}


class WholeResponse(Response):
    """A whole response, status 200, its headers ready to send: a fifth of the time of Starlette's own."""

    def __init__(
        self, body: bytes, form: Format, *headers: tuple[bytes, bytes], length: int | None = None
    ) -> None:
        self.body = body
        self.status_code = 200
        self.background = None
        size = len(body) if length is None else length
        self.raw_headers = [_CONTENT_TYPES[form], (b"content-length", b"%d" % size), _VARY[form], *headers]

    def may_be_kept(self, reuse: Reuse, *, by_key: bool, by_accept: bool) -> None:
        """Add the headers for caches of a response to GET or HEAD; to POST, no cache keeps any.

        Args:
            reuse: Whether the same request receives the same response again.
            by_key: Whether the request required an API key.
            by_accept: Whether the Accept header chose the format, and not the path.
        """
        if by_accept:
            # Also for a picture, which is not compressed: all answers of one address must name the same,
            # or nginx replaces one by the other.
            vary_by(self.raw_headers, b"Accept-Encoding")
        else:
            self.raw_headers = [header for header in self.raw_headers if header[0] != b"vary"]
        self.raw_headers.append(cache_control(reuse, by_key=by_key))
        if by_key:
            vary_by(self.raw_headers, b"Authorization")

    def identified(self, etag: bytes) -> None:
        """Add the ETag, which a cache sends when it asks again."""
        self.raw_headers.append((b"etag", etag))

    def named(self, file_name: str) -> None:
        """Propose a name to a client that saves the response; a browser still shows it.

        Args:
            file_name: Letters, digits and `@ . -`, which need no escape.
        """
        self.raw_headers.append((b"content-disposition", f'inline; filename="{file_name}"'.encode("ascii")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the head and the body in two messages."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def is_quick(chosen: Format, answer: Answer, drawing: Drawing | None) -> bool:
    """Whether `respond` may run on the event loop."""
    if chosen is Format.JSON:
        return _size(answer) <= _QUICK_VALUES
    if chosen in (Format.NPY, Format.NPZ, Format.SAFETENSORS):
        return _size(answer) <= _QUICK_COPIES
    images = answer.__dict__.get("images")
    if images is None:
        return True  # a table, which is short
    if chosen is Format.TEXT:
        return len(images) <= _QUICK_TEXTS and images.size <= _QUICK_VALUES
    scale = drawing.scale if drawing is not None else 1
    return bool(images.size * scale * scale <= _QUICK_PIXELS)


def _size(answer: Answer) -> int:
    """Total number of values in its arrays."""
    values, size = answer.__dict__, 0
    for name in answer.array_names:
        array = values[name]
        if array is not None:
            size += array.size
    return size


def respond(
    chosen: Format, answer: Answer, *, drawing: Drawing | None = None, max_png_pixels: int = 0
) -> WholeResponse:
    """One response.

    Args:
        chosen: The format that the client requested.
        answer: JSON contains its facts, then its arrays. npz contains the arrays, the numbers among the facts
            and the facts that are headers. `images` (N, C, H, W) in [0, 1] are drawn or sent as npy; without
            images, text is a table.
        drawing: Parameters for formats that draw images.
        max_png_pixels: Maximum number of pixels of a picture.

    Raises:
        PictureTooLarge: The picture would exceed that.
    """
    with current_trace().phase("encode"):
        body = _encode(chosen, answer, drawing, max_png_pixels)
    latent = answer.__dict__.get("z")
    if (
        latent is not None
        and latent.ndim == 2
        and latent.shape[0] == 1
        and latent.shape[1] <= MAX_HEADER_LATENT
    ):
        x_z = ",".join([f"{value:.9g}" for value in latent[0].tolist()])
        return WholeResponse(body, chosen, (b"x-z", x_z.encode("ascii")), *_fact_headers(answer))
    return WholeResponse(body, chosen, *_fact_headers(answer))


def _fact_headers(answer: Answer) -> Iterable[tuple[bytes, bytes]]:
    return _headers_of(type(answer), answer.__dict__) if answer.headers else ()


def _headers_of(answer: type[Answer], facts: Mapping[str, object]) -> Iterator[tuple[bytes, bytes]]:
    """Facts that are headers, without those that are None; text is percent-encoded."""
    for name, header in answer.headers.items():
        fact = facts.get(name)
        if fact is not None:
            text = f"{fact:g}" if isinstance(fact, float) else quote(str(fact), safe="")
            yield header.raw, text.encode("ascii")


def _encode(chosen: Format, answer: Answer, drawing: Drawing | None, max_png_pixels: int) -> bytes:
    if chosen is Format.JSON:
        whole = dict(answer.__dict__)
        for name in answer.array_names:
            array = whole[name]
            if array is None:
                del whole[name]
            elif not array.flags.c_contiguous:
                whole[name] = np.ascontiguousarray(array)
        for name in answer.optional_facts:
            if whole[name] is None:
                del whole[name]
        return json_bytes(whole)
    if chosen is Format.NPZ:
        return encode_npz({**answer.arrays, **_facts_as_arrays(answer)})
    if chosen is Format.SAFETENSORS:
        facts = {name: str(value) for name, value in answer.facts.items()}
        return encode_safetensors(answer.arrays, metadata=facts)
    images = answer.__dict__.get("images")
    if images is None:
        return (table(answer.arrays, of="image") + "\n").encode()
    if chosen is Format.NPY:
        return encode_npy(images)
    assert drawing is not None, "only paths with images have formats that draw"
    return _draw(chosen, images, drawing, max_png_pixels)


def _draw(chosen: Format, images: NDArray[np.float32], drawing: Drawing, max_pixels: int) -> bytes:
    if chosen is Format.TEXT:
        return (braille(images, columns=drawing.columns or TEXT_COLUMNS) + "\n").encode()
    if chosen is Format.PNG:
        return encode_png(images, scale=drawing.scale, columns=drawing.columns, max_pixels=max_pixels)
    return encode_lossy(
        images,
        kind="JPEG" if chosen is Format.JPEG else "WebP",
        scale=drawing.scale,
        columns=drawing.columns,
        quality=drawing.quality,
        max_pixels=max_pixels,
    )


def _facts_as_arrays(answer: Answer) -> dict[str, NDArray[np.generic]]:
    """Integers and floats among the facts, and the facts that are headers, as arrays without axes."""
    return {
        name: np.asarray(value)
        for name, value in answer.facts.items()
        if (isinstance(value, int | float) and not isinstance(value, bool))
        or (name in answer.headers and value is not None)
    }


def document_response(
    document: Document | bytes,
    media_type: str = Format.JSON.media_type,
    *,
    reuse: Reuse = Reuse.NEVER,
    by_key: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A document or a page, status 200.

    Args:
        document: The document, or its bytes.
        media_type: Its media type.
        reuse: What a cache may do with it.
        by_key: Whether the request required an API key.
        headers: Further headers.
    """
    body = document if isinstance(document, bytes) else document.to_json()
    response = Response(body, media_type=media_type, headers=headers)
    response.raw_headers.append(cache_control(reuse, by_key=by_key))
    if by_key:
        vary_by(response.raw_headers, b"Authorization")
    return response


class HeadersAlone(WholeResponse):
    """The response to HEAD: the headers of GET that are known without the work.

    The length of an npy file follows from its shape. Any other length is left out, as RFC 9110 allows
    (section 9.3.2).
    """

    def __init__(
        self,
        chosen: Format,
        facts: Mapping[str, object],
        *,
        answer: type[Answer],
        shape: tuple[int, ...],
        drawing: Drawing,
        max_png_pixels: int,
    ) -> None:
        """Reject everything that GET would reject.

        Args:
            chosen: Format of the response to GET.
            facts: Facts that are headers.
            answer: The class that names these headers.
            shape: Shape of the images, (N, C, H, W).
            drawing: Parameters of GET for drawing them.
            max_png_pixels: Maximum number of pixels of a picture.

        Raises:
            PictureTooLarge: The picture would exceed that.
        """
        if chosen in (Format.PNG, *_LIMITED_SIDES):
            plan_sheet(
                shape,
                scale=drawing.scale,
                columns=drawing.columns,
                max_pixels=max_png_pixels,
                max_side=MAX_SIDE_PIXELS if chosen in _LIMITED_SIDES else None,
            )
        length = _npy_length(shape) if chosen is Format.NPY else None
        super().__init__(b"", chosen, *_headers_of(answer, facts), length=length)
        if length is None:
            self.raw_headers = [each for each in self.raw_headers if each[0] != b"content-length"]


class NotModified(WholeResponse):
    """304 with the headers of one that was sent before, and the ETag that this client has."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], etag: bytes) -> None:
        self.body = b""
        self.status_code = 304
        self.background = None
        self.raw_headers = [(name, etag if name == b"etag" else value) for name, value in headers]


def reuse_of(reference: str) -> Reuse:
    """Whether a cache may keep a response without chance: a numbered version stays, an alias moves."""
    _, _, version = reference.partition("@")
    return Reuse.ASKING if version_number(version) is None else Reuse.FIXED


def make_not_modified(response: Response) -> None:
    """Make a response that of a client that has its body already: 304, with the headers for caches."""
    content_type = response.headers.get("content-type", "").encode("latin-1")
    if is_text(content_type):
        vary_by(response.raw_headers, b"Accept-Encoding")  # as the body that the client has
    response.status_code = 304
    response.body = b""
    left_out = (b"content-type", b"content-length")
    response.raw_headers = [each for each in response.raw_headers if each[0] not in left_out]


def _npy_length(shape: tuple[int, ...]) -> int:
    return len(npy_header(shape, np.dtype(np.float32))) + math.prod(shape) * np.dtype(np.float32).itemsize


class NpyInParts(WholeResponse):
    """A long npy file, sent while its parts are computed.

    Its length is known beforehand, so a client sees whether it is complete. A part that fails after the first
    ends the connection: half a file cannot be withdrawn.
    """

    def __init__(
        self,
        parts: Parts,
        first: NDArray[np.float32],
        *,
        answer: type[Answer],
        shape: tuple[int, int, int],
        is_disconnected: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._first = first
        self._is_disconnected = is_disconnected
        self._head = npy_header((parts.count, *shape), np.dtype(np.float32))
        facts = {name: getattr(parts, name) for name in answer.headers}
        length = _npy_length((parts.count, *shape))
        super().__init__(b"", Format.NPY, *_headers_of(answer, facts), length=length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the npy header, then the images as they become ready."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._head, "more_body": True})
        left = self._parts.count - len(self._first)
        await send({"type": "http.response.body", "body": self._first.tobytes(), "more_body": left > 0})
        try:
            async for images in self._parts.images:
                if self._is_disconnected():
                    raise ClientDisconnect
                left -= len(images)
                await send({"type": "http.response.body", "body": images.tobytes(), "more_body": left > 0})
        except CallerDisconnected as error:
            raise ClientDisconnect from error
        finally:
            await self._parts.images.aclose()
