"""A picture file as the server reads it, with its usual bounds: the image alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.manifest import UNSTATED_PREPROCESSING, Preprocessing
from model_store.pictures import Fit
from service.api.request_images import Reading, read_picture
from service.settings import Settings

MAX_PIXELS: int = Settings.model_fields["max_picture_pixels"].default


def decode_png(
    data: bytes,
    *,
    shape: tuple[int, ...],
    preprocessing: Preprocessing = UNSTATED_PREPROCESSING,
    resize: bool = False,
    fit: Fit | None = None,
    invert: bool | None = False,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.float32]:
    """float32 (1, C, H, W)."""
    reading = Reading(resize=resize, fit=fit, invert=invert)
    prepared = read_picture(
        data, shape=shape, preprocessing=preprocessing, reading=reading, max_pixels=max_pixels
    )
    return prepared.image[np.newaxis]
