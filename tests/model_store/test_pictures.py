"""The steps from samples to an image: scaling, turning and what an EXIF block may claim."""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageOps

from model_store.manifest import Preprocessing
from model_store.pictures import Picture, exif_orientation, prepared_image, prepared_levels

CROP = Preprocessing(fit="crop", ground="black", levels=256)
STRETCH = Preprocessing(fit="stretch", ground="black", levels=None)
SIZES = [((48, 96), (16, 16)), ((300, 200), (28, 28)), ((5, 7), (28, 28)), ((100, 30), (32, 16))]


def samples(rows: int, columns: int, *, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 256, (rows, columns, bands), dtype=np.uint8)


@pytest.mark.parametrize(("size", "wanted"), [*SIZES, ((1, 200), (8, 8)), ((257, 3), (64, 8))])
def test_cropping_agrees_with_pillow_to_its_rounding(size, wanted):
    pixels = samples(*size)
    fitted = ImageOps.fit(Image.fromarray(pixels), wanted[::-1], Image.Resampling.BILINEAR)
    levels = prepared_levels(Picture(pixels, 255), (3, *wanted), CROP)
    # Pillow rounds twice: between the axes, and at the end.
    assert np.abs(levels.astype(int) - np.moveaxis(np.asarray(fitted), -1, 0)).max() <= 1


@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_stretching_is_what_versions_without_a_word_for_it_were_served_with(size, wanted):
    pixels = samples(size[0], size[1], bands=1)
    plane = Image.fromarray(pixels[:, :, 0].astype(np.float32) / 255)
    before = np.asarray(plane.resize(wanted[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(
        prepared_image(Picture(pixels, 255), (1, *wanted), STRETCH).image[0], before, atol=2e-7
    )


def test_a_line_of_pixels_takes_no_gigabytes():
    for size in ((65_536, 1), (1, 65_536)):
        image = prepared_image(Picture(np.full((*size, 1), 9, np.uint8), 255), (1, 1024, 1024), STRETCH).image
        np.testing.assert_allclose(image, 9 / 255, atol=1e-7)


def test_scaling_by_whole_numbers_is_exact_at_the_ties():
    """A mean of 127.5 must not become 127 on one processor and 128 on the next."""
    pixels = np.tile(np.array([[127, 128]], np.uint8), (32, 16))[:, :, np.newaxis]
    levels = prepared_levels(Picture(pixels, 255), (1, 4, 4), CROP)
    assert np.unique(levels[0, :, 1:-1]).tolist() == [128]


def block(order: str, *, tag: int = 0x0112, kind: int = 3, count: int = 1, value: int = 6) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", tag, kind, count, value, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def test_an_exif_block_states_its_orientation_in_either_byte_order():
    assert [exif_orientation(block(order, value=6)) for order in "<>"] == [6, 6]
    assert exif_orientation(b"Exif\0\0" + block("<", value=8)) == 8


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"II*\0",
        block("<", value=0),
        block("<", value=9),
        block("<", kind=4),
        block("<", count=2),
        block("<", tag=0x0100),
        block("<")[:-10],
        b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(20),
        b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(20),
        b"XX*\0" + bytes(40),
    ],
)
def test_an_exif_block_that_states_nothing_sound_leaves_the_picture_as_it_lies(odd):
    assert exif_orientation(odd) == 1


def test_no_exif_block_raises_or_states_what_there_is_not():
    random = Random(0)
    for _ in range(3_000):
        data = bytearray(block(random.choice("<>")))
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        assert 1 <= exif_orientation(bytes(data[: random.randint(0, len(data))])) <= 8
