"""Arrays and facts to an answer in the form that was chosen.

Knows forms and which codec writes each. Knows nothing of models or of how the arrays came about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.parameters import Drawing
from service.codecs.images import encode_png, plan_png
from service.codecs.tensors import encode_npy, encode_npz, npy_header
from service.codecs.text_art import braille
from service.codecs.text_table import table
from service.engine import CallerLeft, Parts
from service.http.negotiation import Format
from service.observability.request_trace import current_trace

#: Facts that tell which density was drawn from.
PRIOR, LABEL = "prior", "label"
#: Digits per row of text: 5 × 14 cells and the gaps fit a terminal of 80 columns.
TEXT_COLUMNS = 5
#: Longest latent that is also told in the X-Z header, when there is one image.
MAX_HEADER_LATENT = 128

#: What may be written on the event loop, by form: about half a millisecond of work. Values of JSON, pixels of
#: a PNG, images of text; npy and npz are copies.
_QUICK_VALUES = 20_000
_QUICK_PIXELS = 10_000
_QUICK_TEXTS = 20
_QUICK_COPIES = 500_000

Arrays = Mapping[str, NDArray[Any]]


_CONTENT_TYPES = {form: (b"content-type", form.content_type.encode("ascii")) for form in Format}
#: What was negotiated by Accept may not be reused for a request with another Accept.
_VARY = (b"vary", b"Accept")


class Answer(Response):
    """A whole answer, status 200, its headers ready to send: a fifth of the time of Starlette's own."""

    def __init__(
        self, body: bytes, form: Format, *headers: tuple[bytes, bytes], length: int | None = None
    ) -> None:
        self.body = body
        self.status_code = 200
        self.background = None
        size = len(body) if length is None else length
        self.raw_headers = [_CONTENT_TYPES[form], (b"content-length", b"%d" % size), _VARY, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the head and the body in two messages."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def is_quick(form: Format, arrays: Arrays, drawing: Drawing | None) -> bool:
    """Whether `answer` may be called on the event loop."""
    if form is Format.JSON:
        return sum(array.size for array in arrays.values()) <= _QUICK_VALUES
    if form in (Format.NPY, Format.NPZ):
        return sum(array.size for array in arrays.values()) <= _QUICK_COPIES
    images = arrays.get("images")
    if images is None:
        return True  # a table, which is short
    if form is Format.TEXT:
        return len(images) <= _QUICK_TEXTS
    scale = drawing.scale if drawing is not None else 1
    return images.size * scale * scale <= _QUICK_PIXELS


def answer(
    form: Format,
    *,
    facts: Mapping[str, object],
    arrays: Arrays,
    drawing: Drawing | None = None,
    max_png_pixels: int = 0,
) -> Response:
    """One answer.

    Args:
        form: What the client asked for.
        facts: Parameters of the JSON object, before its arrays; npz carries the numbers among them too,
            and what tells the prior.
        arrays: What is answered, in order; `images` (N, C, H, W) in [0, 1] is what is drawn or sent as npy;
            without it, text is a table.
        drawing: How images are drawn, for forms that draw.
        max_png_pixels: Most pixels of a PNG.

    Raises:
        PictureTooLarge: The picture would have more than that.
    """
    with current_trace().phase("encode"):
        body = _encode(form, facts, arrays, drawing, max_png_pixels)
    latent = arrays.get("z")
    if latent is not None and latent.shape[0] == 1 and latent.shape[1] <= MAX_HEADER_LATENT:
        x_z = ",".join([f"{value:.9g}" for value in latent[0].tolist()])
        return Answer(body, form, (b"x-z", x_z.encode("ascii")), *_told(facts))
    return Answer(body, form, *_told(facts))


def _told(facts: Mapping[str, object]) -> Iterator[tuple[bytes, bytes]]:
    """What it takes beside the seed to draw the same again, as headers; a label percent-encoded."""
    if (temperature := facts.get("temperature")) is not None:
        yield b"x-temperature", f"{temperature:g}".encode("ascii")
    for name, header in ((PRIOR, b"x-prior"), (LABEL, b"x-label")):
        if (word := facts.get(name)) is not None:
            yield header, quote(str(word), safe="").encode("ascii")


def _encode(
    form: Format,
    facts: Mapping[str, object],
    arrays: Arrays,
    drawing: Drawing | None,
    max_png_pixels: int,
) -> bytes:
    if form is Format.JSON:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return orjson.dumps({**facts, **whole}, option=orjson.OPT_SERIALIZE_NUMPY)
    if form is Format.NPZ:
        return encode_npz({**arrays, **_scalars(facts)})
    if form is Format.NPY:
        return encode_npy(arrays["images"])
    if "images" not in arrays:
        return (table(arrays, of="image") + "\n").encode()
    assert drawing is not None, "only paths with images have forms that draw"
    images = arrays["images"]
    if form is Format.TEXT:
        return (braille(images, columns=drawing.columns or TEXT_COLUMNS) + "\n").encode()
    return encode_png(images, scale=drawing.scale, columns=drawing.columns, max_pixels=max_png_pixels)


def _scalars(facts: Mapping[str, object]) -> dict[str, NDArray[np.generic]]:
    """Integers and floats among the facts, and the words for the prior, as arrays without axes."""
    return {
        name: np.asarray(value)
        for name, value in facts.items()
        if (isinstance(value, int | float) and not isinstance(value, bool))
        or (name in (PRIOR, LABEL) and value is not None)
    }


class HeadersAlone(Answer):
    """The answer to HEAD: the headers of GET that are known without the work.

    The length of an npy file is known from its shape. Any other length is left out, as RFC 9110 allows
    (section 9.3.2).
    """

    def __init__(
        self,
        form: Format,
        *,
        facts: Mapping[str, object],
        shape: tuple[int, ...],
        drawing: Drawing,
        max_png_pixels: int,
    ) -> None:
        """Refuses what GET would refuse.

        Args:
            form: Of the answer to GET.
            facts: As in `answer`.
            shape: Of the images, (N, C, H, W).
            drawing: How GET would draw them.
            max_png_pixels: Most pixels of a PNG.

        Raises:
            PictureTooLarge: The picture would have more than that.
        """
        if form is Format.PNG:
            plan_png(shape, scale=drawing.scale, columns=drawing.columns, max_pixels=max_png_pixels)
        length = _npy_length(shape) if form is Format.NPY else None
        super().__init__(b"", form, *_told(facts), length=length)
        if length is None:
            self.raw_headers = [each for each in self.raw_headers if each[0] != b"content-length"]


def _npy_length(shape: tuple[int, ...]) -> int:
    return len(npy_header(shape, np.dtype(np.float32))) + math.prod(shape) * np.dtype(np.float32).itemsize


class NpyInParts(Answer):
    """A long npy file, sent as its parts are computed.

    Its length is known beforehand, so a client sees whether it is whole. A part that fails after the first
    ends the connection: half a file cannot be taken back.
    """

    def __init__(
        self,
        parts: Parts,
        first: NDArray[np.float32],
        *,
        shape: tuple[int, int, int],
        has_left: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._first = first
        self._has_left = has_left
        self._head = npy_header((parts.count, *shape), np.dtype(np.float32))
        facts = {"temperature": parts.temperature, PRIOR: parts.prior, LABEL: parts.label}
        super().__init__(b"", Format.NPY, *_told(facts), length=_npy_length((parts.count, *shape)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the npy header, then the images as they are ready."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._head, "more_body": True})
        left = self._parts.count - len(self._first)
        await send({"type": "http.response.body", "body": self._first.tobytes(), "more_body": left > 0})
        try:
            async for images in self._parts.images:
                if self._has_left():
                    raise ClientDisconnect
                left -= len(images)
                await send({"type": "http.response.body", "body": images.tobytes(), "more_body": left > 0})
        except CallerLeft as error:
            raise ClientDisconnect from error
        finally:
            await self._parts.images.aclose()
