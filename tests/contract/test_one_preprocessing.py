"""The same picture file gives the same pixels in training and in the server, to the level.

Two readers unpack it, one that trusts the file and one that does not; the steps after that are one module.
"""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import numpy as np
import png_reference
import pytest
from pictures_in import decode_png
from PIL import Image
from png_reference import CHANNELS, KINDS, Picture

from model_store.manifest import Preprocessing
from training.data.image_files import Conversion, read_header, read_pixels

ORIENTATION = 0x0112
GROUNDS = ("black", "white")


def both(path: Path, file: bytes, shape: tuple[int, int, int], ground: str) -> tuple[np.ndarray, np.ndarray]:
    """What training keeps, and what the server gives the encoder, in levels; they must be whole."""
    path.write_bytes(file)
    conversion = Conversion(ground=ground)  # type: ignore[arg-type]
    served = decode_png(file, shape=shape, preprocessing=conversion.preprocessing, resize=True)[0]
    trained = read_pixels(path, shape, conversion)
    assert np.array_equal(served, trained.astype(np.float32) / np.float32(255)), "an encoder sees others"
    return trained, served


def random_picture(colour: int, depth: int, transparent: bool, random: Random) -> Picture:
    most = (1 << depth) - 1
    palette = [tuple(random.randrange(256) for _ in range(3)) for _ in range(most + 1)] if colour == 3 else []
    key = tuple(random.randint(0, most) for _ in range(CHANNELS[colour]))
    # A near miss differs in the low byte alone.
    miss = (*key[:-1], key[-1] ^ 1)

    def pixel() -> tuple[int, ...]:
        drawn = tuple(random.randint(0, most) for _ in range(CHANNELS[colour]))
        return random.choice((key, miss, drawn, drawn, drawn))

    stated = None
    if transparent:
        stated = (
            bytes(random.randrange(256) for _ in range(random.randint(1, len(palette))))
            if colour == 3
            else b"".join(sample.to_bytes(2) for sample in key)
        )
    return Picture(13, 11, depth, colour, [[pixel() for _ in range(13)] for _ in range(11)], palette, stated)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "depth", "transparent"),
    [
        (colour, depth, transparent)
        for colour, depth in KINDS
        for transparent in ([False] if colour in (4, 6) else [False, True])
    ],
)
def test_every_kind_of_png_is_the_same_image_in_both(colour, depth, transparent, interlaced, tmp_path):
    random = Random(f"{colour} {depth} {transparent} {interlaced}")
    file = png_reference.write(
        random_picture(colour, depth, transparent, random), interlaced=interlaced, random=random
    )
    for channels in (1, 3):
        for height, width in ((11, 13), (8, 8), (5, 9), (16, 30)):
            for ground in GROUNDS:
                both(tmp_path / "a.png", file, (channels, height, width), ground)
    header = read_header(tmp_path / "a.png", Conversion())
    assert header.shape == (1 if colour in (0, 4) else 3, 11, 13)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_exif_turns_is_turned_in_both(orientation, tmp_path):
    upright = np.random.default_rng(orientation).integers(0, 256, (20, 12, 3), dtype=np.uint8)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    lies = Image.fromarray(upright)
    if orientation > 1:
        lies = lies.transpose(turned[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    lies.save(buffer, "PNG", exif=exif)
    trained, _ = both(tmp_path / "a.png", buffer.getvalue(), (3, 20, 12), "black")
    assert np.array_equal(trained, np.moveaxis(upright, -1, 0))
    # Of its upright size, so that it needs no resize=true.
    assert decode_png(buffer.getvalue(), shape=(3, 20, 12)).shape == (1, 3, 20, 12)
    for name, options in (
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("a.jpg", {"quality": 100, "subsampling": 0}),
    ):
        lies.save(tmp_path / name, exif=exif, **options)
        assert read_header(tmp_path / name, Conversion()).shape == (3, 20, 12), name
        difference = read_pixels(tmp_path / name, (3, 20, 12)).astype(int) - trained
        assert np.abs(difference).mean() < (4 if name == "a.jpg" else 1e-9), name


def test_the_middle_is_cut_out_in_both_and_stretched_only_where_the_manifest_says_so(tmp_path):
    wide = np.full((30, 90), 200, np.uint8)
    wide[:, 30:60] = 20
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "PNG")
    trained, _ = both(tmp_path / "a.png", buffer.getvalue(), (1, 10, 10), "black")
    assert trained[0, :, 1:-1].max() == 20
    stretch = Preprocessing(fit="stretch", ground="black", levels=256)
    stretched = decode_png(buffer.getvalue(), shape=(1, 10, 10), preprocessing=stretch, resize=True)
    assert stretched[0, 0, 0, 0] == pytest.approx(200 / 255)


def test_ink_on_transparent_paper_is_seen_on_the_ground_that_the_manifest_states(tmp_path):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[4:12, 4:12, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(ink).save(buffer, "PNG")
    black, _ = both(tmp_path / "a.png", buffer.getvalue(), (1, 16, 16), "black")
    white, _ = both(tmp_path / "a.png", buffer.getvalue(), (1, 16, 16), "white")
    assert black.max() == 0
    assert (white[0, 0, 0], white[0, 8, 8]) == (255, 0)


def test_sixteen_bits_are_rounded_to_the_nearest_level_and_not_cut(tmp_path):
    """Half of all samples of 16 bits were a level too low when the low byte was dropped."""
    levels = np.arange(0, 65_536, 256, dtype=np.uint16).reshape(16, 16) + 200
    random = Random(0)
    for colour in (0, 2):
        pixels = [[(int(sample),) * CHANNELS[colour] for sample in row] for row in levels]
        file = png_reference.write(
            Picture(16, 16, 16, colour, pixels, [], None), interlaced=False, random=random
        )
        trained, _ = both(tmp_path / "a.png", file, (CHANNELS[colour], 16, 16), "black")
        assert np.array_equal(trained[0], np.rint(levels / 257.0).astype(np.uint8))
