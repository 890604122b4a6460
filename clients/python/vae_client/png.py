"""A sheet of images as PNG, without Pillow.

Knows arrays and the PNG format. Knows nothing of notebooks or results.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sheet(images: NDArray[Any], *, columns: int | None = None, scale: int = 1) -> NDArray[np.uint8]:
    """Images next to one another, with a gap of one pixel.

    Args:
        images: (N, C, H, W) in [0, 1]. Of 2 channels only the first is shown, of more only the first three.
        columns: Images in a row; None makes the sheet as square as possible.
        scale: Side of the square that a pixel becomes.

    Returns:
        uint8 (height, width) or (height, width, 3).
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 128, np.uint8)
    pixels = np.rint(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8).transpose(0, 2, 3, 1)
    for index, one in enumerate(pixels):
        top, left = (index // columns) * (height + 1), (index % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = one
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    return canvas[:, :, 0] if channels < 3 else canvas[:, :, :3]


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 (height, width) or (height, width, 3)."""
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    lines = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
