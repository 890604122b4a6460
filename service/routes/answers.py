"""Arrays and facts to an answer in the form that was chosen.

Knows forms and which codec writes each. Knows nothing of models or of how the arrays came about.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from service.codecs.images import encode_png
from service.codecs.tensors import encode_npy, encode_npz
from service.codecs.text_art import braille
from service.negotiation import Form
from service.schemas.native import Drawing
from service.trace import current_trace

#: Digits per row of text: 5 × 14 cells and the gaps fit a terminal of 80 columns.
TEXT_COLUMNS = 5
#: Longest latent that is also told in the X-Z header, when there is one image.
MAX_HEADER_LATENT = 128

Arrays = Mapping[str, NDArray[np.float32]]


def answer(
    form: Form,
    *,
    facts: Mapping[str, object],
    arrays: Arrays,
    drawing: Drawing | None = None,
    max_png_pixels: int = 0,
) -> Response:
    """One answer.

    Args:
        facts: Scalars of the JSON object, before its arrays; npz carries the numbers among them too.
        arrays: What is answered, in order; `images` (N, C, H, W) in [0, 1] is what is drawn or sent as npy.
        drawing: How images are drawn, for forms that draw.
        max_png_pixels: Most pixels of a PNG.

    Raises:
        PictureTooLarge: The picture would have more than that.
    """
    with current_trace().phase("encode"):
        body = _encode(form, facts, arrays, drawing, max_png_pixels)
    # What was negotiated by Accept may not be reused for a request with another Accept.
    headers = {"Vary": "Accept"}
    latent = arrays.get("z")
    if latent is not None and latent.shape[0] == 1 and latent.shape[1] <= MAX_HEADER_LATENT:
        headers["X-Z"] = ",".join(f"{value:.9g}" for value in latent[0].tolist())
    if facts.get("temperature") is not None:
        headers["X-Temperature"] = f"{facts['temperature']:g}"
    # Content-Type is set as a header: Starlette would append a charset of its own to text.
    return Response(body, headers={"Content-Type": form.content_type, **headers})


def _encode(
    form: Form,
    facts: Mapping[str, object],
    arrays: Arrays,
    drawing: Drawing | None,
    max_png_pixels: int,
) -> bytes:
    if form is Form.JSON:
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return orjson.dumps({**facts, **whole}, option=orjson.OPT_SERIALIZE_NUMPY)
    if form is Form.NPZ:
        return encode_npz({**arrays, **_numbers(facts)})
    if form is Form.NPY:
        return encode_npy(arrays["images"])
    assert drawing is not None, "only paths with images have forms that draw"
    images = arrays["images"]
    if form is Form.TEXT:
        return (braille(images, columns=drawing.columns or TEXT_COLUMNS) + "\n").encode()
    return encode_png(images, scale=drawing.scale, columns=drawing.columns, max_pixels=max_png_pixels)


def _numbers(facts: Mapping[str, object]) -> dict[str, NDArray[np.generic]]:
    """Integers and floats among the facts, as arrays without axes."""
    return {
        name: np.asarray(value)
        for name, value in facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
