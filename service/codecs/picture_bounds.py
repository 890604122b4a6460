"""The remedy for a picture with too many pixels: a size to scale it to, and the setting behind the bound.

Knows numbers and words. Knows nothing of formats.
"""

from __future__ import annotations

import math


def scaled_down(width: int, height: int, max_pixels: int) -> str:
    """The largest size of nearly the same proportions: a crop to the model's shape shows the same part."""
    narrower = max(1, min(max_pixels, int(width * math.sqrt(max_pixels / (width * height)))))
    lower = max(1, min(max_pixels // narrower, round(narrower * height / width)))
    return (
        f"Scale the image down before sending it, in both directions alike, to {narrower} × {lower} or less. "
        "The operator of the server may raise --max-picture-pixels (VAE_MAX_PICTURE_PIXELS)."
    )
