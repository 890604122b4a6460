"""Drawings as people have them, brought to the size and the shape of MNIST's digits."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_store.drawing import NoFigure, contained, is_light_on_dark, like_mnist
from model_store.manifest import UNSTATED_PREPROCESSING, Preprocessing
from model_store.pictures import Picture, prepared_image

MNIST = Path(__file__).resolve().parents[1] / "data/mnist/t10k-images-idx3-ubyte.gz"
SHAPE = (1, 28, 28)


def drawn(width: int, height: int, *, at: tuple[int, int] = (0, 0), size: int = 120) -> Image.Image:
    """A seven with a thick pen, white on black, as a page with a canvas has it."""
    picture = Image.new("L", (width, height))
    left, top = at
    strokes = [(left, top), (left + size * 2 // 3, top), (left + size // 4, top + size)]
    ImageDraw.Draw(picture).line(strokes, fill=255, width=16, joint="curve")
    return picture


def levels_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float64) / 255


def as_mnist_was_made(picture: Image.Image) -> np.ndarray:
    """The same by Pillow: cut out, scaled to a box of 20 × 20, shifted by its centre of mass."""
    box = picture.crop(picture.point(lambda level: 255 * (level > 64)).getbbox())
    share = 20 / max(box.size)
    small = box.resize(
        (max(1, round(box.width * share)), max(1, round(box.height * share))), Image.Resampling.BILINEAR
    )
    levels = levels_of(small)
    rows, columns = np.indices(levels.shape)
    top = round(14 - float((rows * levels).sum() / levels.sum()))
    left = round(14 - float((columns * levels).sum() / levels.sum()))
    out = Image.new("L", (28, 28))
    out.paste(small, (min(max(left, 0), 28 - small.width), min(max(top, 0), 28 - small.height)))
    return levels_of(out)


@pytest.mark.parametrize(
    ("width", "height", "at", "size"),
    [
        (280, 280, (90, 60), 120),
        (280, 280, (10, 150), 110),
        (640, 300, (500, 40), 200),
        (300, 700, (20, 20), 90),
    ],
)
def test_figure_is_boxed_and_centred_as_mnist_was_made(width, height, at, size):
    """Pillow rounds to levels twice; nothing else differs."""
    picture = drawn(width, height, at=at, size=size)
    made = like_mnist(levels_of(picture), height=28, width=28)
    assert np.abs(made - as_mnist_was_made(picture)).max() < 3 / 255


def test_place_and_size_of_the_figure_do_not_matter():
    one = like_mnist(levels_of(drawn(280, 280, at=(20, 20), size=200)), height=28, width=28)
    for at, size in (((150, 150), 100), ((30, 170), 100), ((60, 60), 140)):
        other = like_mnist(levels_of(drawn(280, 280, at=at, size=size)), height=28, width=28)
        # The pen is as thick, and so the box differs by the width of its ends.
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.75


def test_figure_stays_in_a_box_of_20_with_its_mass_in_the_middle():
    image = like_mnist(levels_of(drawn(280, 280, at=(40, 170), size=90)), height=28, width=28)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == 20
    for axis in (0, 1):
        masses = image.sum(axis=1 - axis)
        assert abs((masses * np.arange(28)).sum() / masses.sum() - 14) <= 0.5


def test_digits_of_mnist_stay_where_they_are():
    """They are what the fit makes: ten times as large, each comes back in its place."""
    data = gzip.decompress(MNIST.read_bytes())
    digits = np.frombuffer(data, np.uint8, 200 * 784, 16).reshape(200, 28, 28) / 255
    alike = []
    for digit in digits:
        made = like_mnist(np.kron(digit, np.ones((10, 10))), height=28, width=28)
        alike.append(np.corrcoef(made.ravel(), digit.ravel())[0, 1])
    assert np.median(alike) > 0.98
    assert np.quantile(alike, 0.1) > 0.9


def test_noise_and_shading_of_paper_become_an_even_ground():
    generator = np.random.default_rng(3)
    pen = levels_of(drawn(600, 600, at=(180, 120), size=320))
    shading = np.linspace(0.22, 0.34, 600)[:, np.newaxis]
    photograph = np.clip(0.55 * pen + shading + generator.normal(0, 0.02, pen.shape), 0, 1)
    made = like_mnist(photograph, height=28, width=28)
    clean = like_mnist(pen, height=28, width=28)
    assert np.corrcoef(made.ravel(), clean.ravel())[0, 1] > 0.95
    assert np.median(made) == 0


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_empty_page_has_no_figure(level):
    with pytest.raises(NoFigure):
        like_mnist(np.full((280, 280), level), height=28, width=28)
    faint = np.full((50, 50), level)
    faint[20:30, 20:30] = abs(level - 0.05)
    with pytest.raises(NoFigure):
        like_mnist(faint, height=28, width=28)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (64, 48), (8, 8), (1, 1)])
def test_other_models_have_a_box_of_the_same_share(height, width):
    image = like_mnist(levels_of(drawn(280, 280, at=(90, 60))), height=height, width=width)
    assert image.shape == (height, width)
    assert 0 <= image.min() <= image.max() <= 1
    rows = np.flatnonzero(image.any(axis=1))
    assert rows[-1] - rows[0] + 1 <= max(1, round(min(height, width) * 20 / 28))


def test_whole_picture_is_centred_on_the_ground():
    wide = np.full((10, 40, 1), 9.0)
    image = contained(wide, height=28, width=28, ground=2.0)
    assert image.shape == (28, 28, 1)
    assert (image[:10] == 2).all()
    assert (image[17:] == 2).all()
    np.testing.assert_allclose(image[10:17], 9)
    tall = contained(np.full((40, 10, 3), 9.0), height=28, width=28, ground=2.0)
    np.testing.assert_allclose(tall, np.repeat(image.transpose(1, 0, 2), 3, axis=2))


@pytest.mark.parametrize("size", [(280, 280), (3, 3), (1000, 1000)])
def test_square_picture_is_contained_as_it_is_stretched(size):
    samples = np.random.default_rng(1).integers(0, 256, (*size, 1), dtype=np.uint8)
    one, other = (
        prepared_image(Picture(samples, 255), SHAPE, UNSTATED_PREPROCESSING, fit=fit).image
        for fit in ("contain", "stretch")
    )
    np.testing.assert_array_equal(one, other)


def test_ground_is_what_most_of_the_border_is():
    dark = np.zeros((28, 28, 1), np.uint8)
    dark[8:20, 8:20] = 255
    assert is_light_on_dark(dark, None, 255)
    assert not is_light_on_dark(255 - dark, None, 255)
    dark[:10] = 255  # a third of the border
    assert is_light_on_dark(dark, None, 255)


@pytest.mark.parametrize("pen", [0, 255])
def test_figure_decides_where_the_ground_is_transparent(pen):
    """A canvas that nothing has filled: the colour below its alpha means nothing."""
    samples = np.full((280, 280, 3), pen, np.uint8)
    alpha = np.zeros((280, 280, 1), np.uint8)
    alpha[100:180, 120:150] = 255
    assert is_light_on_dark(samples, alpha, 255) == (pen == 255)
    assert is_light_on_dark(samples, np.zeros_like(alpha), 255), "an empty one needs no other way round"


@pytest.mark.parametrize("ground", ["black", "white"])
@pytest.mark.parametrize("fit", ["contain", "cover", "stretch", "mnist"])
def test_automatic_inversion_gives_the_ground_that_training_had(ground, fit):
    how = Preprocessing(fit="crop", ground=ground, levels=256)
    levels = np.asarray(drawn(300, 280, at=(90, 60)))[:, :, np.newaxis]
    made = [
        prepared_image(Picture(each, 255), SHAPE, how, fit=fit, invert=None)
        for each in (levels, 255 - levels)
    ]
    np.testing.assert_array_equal(made[0].image, made[1].image)
    assert sorted(each.treatment.is_inverted for each in made) == [False, True]
    assert not any(each.treatment.looks_inverted for each in made)
    assert np.median(made[0].image) == (ground == "white")


def test_picture_that_was_left_the_wrong_way_round_is_noticed():
    levels = np.asarray(drawn(280, 280, at=(90, 60)))[:, :, np.newaxis]
    for picture, invert, looks_so in (
        (levels, False, False),
        (levels, True, True),
        (255 - levels, False, True),
    ):
        done = prepared_image(
            Picture(picture, 255), SHAPE, UNSTATED_PREPROCESSING, fit="contain", invert=invert
        )
        assert done.treatment.looks_inverted == looks_so
