"""PNG files made chunk by chunk, so that every defect can be put in on purpose."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, *, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png_of(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def saved(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """`png(picture or array, **options)`: a PNG file as Pillow writes it."""

    def make(picture: Image.Image | np.ndarray, **options: object) -> bytes:
        return saved(picture if isinstance(picture, Image.Image) else Image.fromarray(picture), **options)

    return make


@pytest.fixture(scope="session")
def ramp() -> np.ndarray:
    """28 × 28 levels of grey, all different from their neighbours, none symmetrical."""
    return (np.arange(784, dtype=np.uint32) * 7 % 256).astype(np.uint8).reshape(28, 28)


@pytest.fixture(scope="session")
def png_parts() -> dict[str, Callable[..., bytes]]:
    """`chunk(kind, body)`, `header(width, height, …)` and `png_of(*chunks)`."""
    return {"chunk": chunk, "header": header, "png_of": png_of}
