"""The responses of a remote decode or encode: one picture, or a raw tensor that headers describe.

Knows forms, not models. Images are float32 (N, C, H, W) in [0, 1], which a decoder may leave.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from service.api.remote.described import TENSOR
from service.api.remote.query import RemoteQuery
from service.codecs.errors import InvalidValue
from service.codecs.images import encode_lossy, encode_png, to_uint8
from service.codecs.raw_tensor import bytes_from_array

_PICTURE_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def wants_tensor(accept: str | None) -> bool:
    """Whether a client that asks for pictures processes them itself, which only its Accept header shows."""
    return accept is not None and TENSOR in accept.lower()


def decoded(
    images: NDArray[np.float32], query: RemoteQuery, *, accept: str | None, max_pixels: int
) -> Response:
    """The response to a decode.

    Args:
        images: The decoder's own output.
        query: The parameters.
        accept: The Accept header.
        max_pixels: Maximum number of pixels of a picture.

    Raises:
        InvalidValue: Several pictures, or channels that a picture does not have.
        PictureTooLarge: More pixels than that.
    """
    if query.output_type == "pt":
        if query.partial_postprocess:
            levels = np.ascontiguousarray(to_uint8(images).transpose(0, 2, 3, 1))
            return tensor_response(levels.tobytes(), levels.shape, "uint8")
        # The range of the programs, not of this server.
        values = images * np.float32(2.0) - np.float32(1.0)
        return tensor_response(bytes_from_array(values, query.dtype), values.shape, query.dtype)
    if wants_tensor(accept):
        pixels = np.clip(images, 0.0, 1.0)
        return tensor_response(bytes_from_array(pixels, query.dtype), pixels.shape, query.dtype)
    if len(images) > 1:
        raise InvalidValue(
            "shape",
            "one latent for a picture",
            f"{len(images)} latents",
            "Send one at a time, or ask for output_type=pt.",
        )
    return Response(_picture(images, query, max_pixels), media_type=_PICTURE_TYPES[query.image_format])


def _picture(images: NDArray[np.float32], query: RemoteQuery, max_pixels: int) -> bytes:
    if query.image_format == "png":
        return encode_png(images, max_pixels=max_pixels)
    return encode_lossy(images, kind="JPEG" if query.image_format == "jpg" else "WebP", max_pixels=max_pixels)


def tensor_response(data: bytes, shape: Sequence[int], dtype: str) -> Response:
    """Raw bytes, with the headers `shape` and `dtype`."""
    headers = {"shape": json.dumps(list(shape)), "dtype": dtype}
    return Response(data, media_type=TENSOR, headers=headers)
