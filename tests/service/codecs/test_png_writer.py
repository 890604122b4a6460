"""PNG files that Pillow reads back as the pixels that were written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from service.codecs.png_writer import png_file


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (28, 28), (5, 300), (64, 3)])
def test_pixels_come_back(height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)
    with Image.open(io.BytesIO(png_file(pixels)), formats=["PNG"]) as picture:
        picture.load()
        assert picture.mode == {1: "L", 3: "RGB"}[channels]
        np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)


def test_checksums_are_right() -> None:
    with Image.open(io.BytesIO(png_file(np.zeros((4, 4, 1), np.uint8)))) as picture:
        picture.verify()
