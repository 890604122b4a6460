"""How many images one call of a model takes: fewer of large ones, so that memory is that of small ones.

Knows shapes. Knows nothing of models or images.
"""

from __future__ import annotations

import math
from typing import Final

#: Values of 512 colour images of 64 × 64 pixels.
_VALUES_AT_ONCE: Final = 512 * 3 * 64 * 64


def images_at_once(image_shape: tuple[int, int, int], *, most: int) -> int:
    """`most`, or fewer if so many images (C, H, W) have too many values; at least 1."""
    return max(1, min(most, _VALUES_AT_ONCE // math.prod(image_shape)))
