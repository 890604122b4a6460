"""The bound on the pixels of a picture that is sent: the refusal, with a size to scale it to and the setting.

Knows numbers and words. Knows nothing of formats.
"""

from __future__ import annotations

import math

from service.codecs.errors import PictureTooLarge


def refuse_too_many_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture before it is unpacked.

    Raises:
        PictureTooLarge: More than `max_pixels`.
    """
    if width * height > max_pixels:
        raise PictureTooLarge(
            "body",
            f"at most {max_pixels} pixels",
            f"{width} × {height}",
            _scaled_down(width, height, max_pixels),
        )


def _scaled_down(width: int, height: int, max_pixels: int) -> str:
    """The largest size of nearly the same proportions: a crop to the model's shape shows the same part."""
    narrower = max(1, min(max_pixels, int(width * math.sqrt(max_pixels / (width * height)))))
    lower = max(1, min(max_pixels // narrower, round(narrower * height / width)))
    return (
        f"Scale the image down before sending it, in both directions alike, to {narrower} × {lower} or less. "
        "The operator of the server may raise --max-picture-pixels (VAE_MAX_PICTURE_PIXELS)."
    )
