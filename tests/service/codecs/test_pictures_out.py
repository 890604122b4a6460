"""Images to PNG and to text: the right pixels in the right places, within bounds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures_in import decode_png
from PIL import Image

from service.codecs import InvalidValue, PictureTooLarge, braille, encode_png

EMPTY = "\u2800"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def images(count: int, shape: tuple[int, ...] = (1, 28, 28)) -> np.ndarray:
    return np.random.default_rng(2).random((count, *shape), dtype=np.float32)


def test_one_grey_image_is_drawn_to_the_nearest_level():
    x = images(1)
    x[0, 0, 0, :3] = (0, 1, 0.5)
    drawn = pixels(encode_png(x))
    assert drawn.shape == (28, 28)
    np.testing.assert_array_equal(drawn, np.rint(x[0, 0] * 255).astype(np.uint8))
    assert list(drawn[0, :2]) == [0, 255]


def test_what_is_drawn_is_read_back():
    levels = np.arange(784, dtype=np.float32).reshape(1, 1, 28, 28) % 256 / np.float32(255)
    np.testing.assert_array_equal(decode_png(encode_png(levels), shape=(1, 28, 28)), levels)


def test_colour_is_drawn_as_rgb():
    x = images(1, (3, 5, 7))
    drawn = pixels(encode_png(x))
    assert drawn.shape == (5, 7, 3)
    np.testing.assert_array_equal(drawn[..., 1], np.rint(x[0, 1] * 255).astype(np.uint8))


def test_scaling_repeats_each_pixel():
    x = images(1)
    small, large = pixels(encode_png(x)), pixels(encode_png(x, scale=5))
    assert large.shape == (140, 140)
    np.testing.assert_array_equal(large[2::5, 4::5], small)


@pytest.mark.parametrize(
    ("count", "columns", "rows_and_columns"),
    [(5, None, (2, 3)), (4, None, (2, 2)), (5, 2, (3, 2)), (3, 99, (1, 3)), (2, 1, (2, 1))],
)
def test_a_sheet_holds_every_image_in_reading_order(count, columns, rows_and_columns):
    rows, across = rows_and_columns
    x = images(count, (1, 6, 8))
    drawn = pixels(encode_png(x, columns=columns))
    assert drawn.shape == (rows * 7 + 1, across * 9 + 1)
    for i in range(count):
        top, left = 1 + i // across * 7, 1 + i % across * 9
        np.testing.assert_array_equal(
            drawn[top : top + 6, left : left + 8], np.rint(x[i, 0] * 255).astype(np.uint8)
        )
    assert not drawn[::7].any(), "the lines between rows are background"
    assert not drawn[:, ::9].any(), "the lines between columns are background"


def test_equal_images_give_equal_bytes():
    assert encode_png(images(9), scale=2) == encode_png(images(9), scale=2)


def test_values_a_little_outside_are_clipped():
    assert list(pixels(encode_png(np.array([[[[-0.1, 1.1]]]], np.float32)))[0]) == [0, 255]


def test_a_picture_beyond_the_bound_is_refused_before_it_is_drawn():
    with pytest.raises(PictureTooLarge, match="at most 16777216 pixels, got 291000 × 291000"):
        encode_png(images(100), scale=1000)
    with pytest.raises(PictureTooLarge):
        encode_png(images(1), scale=10**9)


def test_two_channels_cannot_be_drawn():
    with pytest.raises(InvalidValue, match=r"Request \.npy or JSON instead"):
        encode_png(images(1, (2, 4, 4)))


@pytest.mark.parametrize("arguments", [{"scale": 0}, {"scale": -1}, {"columns": 0}])
def test_a_scale_or_column_count_below_one_is_refused(arguments):
    with pytest.raises(InvalidValue, match="at least 1"):
        encode_png(images(2), **arguments)


# Text


def test_a_digit_takes_fourteen_by_seven_cells():
    lines = braille(images(1)).split("\n")
    assert len(lines) == 7
    assert {len(line) for line in lines} == {14}
    assert all(0x2800 <= ord(c) <= 0x28FF for line in lines for c in line)


def test_each_dot_stands_for_its_own_pixel():
    """Dots are numbered down the left column, down the right one, and then the lowest pair."""
    order = {(0, 0): 1, (1, 0): 2, (2, 0): 3, (0, 1): 4, (1, 1): 5, (2, 1): 6, (3, 0): 7, (3, 1): 8}
    for (row, column), dot in order.items():
        x = np.zeros((1, 1, 4, 2), np.float32)
        x[0, 0, row, column] = 1
        assert braille(x) == chr(0x2800 + (1 << (dot - 1)))


def test_images_stand_side_by_side_and_then_below():
    x = np.zeros((5, 1, 4, 2), np.float32)
    x[:, 0, 0, 0] = 1
    assert braille(x, columns=2) == "⠁  ⠁\n\n⠁  ⠁\n\n⠁"


def test_five_digits_fit_a_terminal_of_eighty_columns():
    assert max(map(len, braille(images(7)).split("\n"))) <= 80


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 28, 28), (1, 29, 28), (3, 64, 64), (3, 10, 64)])
def test_no_small_image_takes_more_than_fourteen_by_seven_cells(shape):
    lines = braille(images(1, shape)).split("\n")
    assert 1 <= len(lines) <= 7
    assert len({len(line) for line in lines}) == 1
    assert 1 <= len(lines[0]) <= 14


@pytest.mark.parametrize("shape", [(3, 10, 500), (1, 500, 10), (4, 100, 90), (1, 999, 999)])
@pytest.mark.parametrize(("count", "most"), [(1, 80), (2, 39), (3, 25), (4, 18), (5, 14), (9, 14)])
def test_large_images_share_the_width_of_a_terminal(shape, count, most):
    lines = braille(images(count, shape)).split("\n\n")[0].split("\n")
    assert 1 <= len(lines) <= max(7, most // 2)
    assert max(map(len, lines)) <= 80
    one = (len(lines[0]) - 2 * (min(count, 5) - 1)) / min(count, 5)
    assert one <= most


def test_large_images_keep_their_proportions():
    lines = braille(np.ones((5, 1, 50, 100), np.float32)).split("\n")
    assert (len(lines), len(lines[0])) == (4, 5 * 14 + 4 * 2)
    lines = braille(np.ones((1, 1, 200, 400), np.float32)).split("\n")
    assert (len(lines), len(lines[0])) == (20, 80)


def test_white_is_full_and_black_is_empty_at_every_size():
    for side in (8, 28, 40, 64):
        assert set(braille(np.ones((1, 1, side, side), np.float32))) <= {"⣿", "\n", "⠛", "⡇", "⠃"}
        assert set(braille(np.zeros((1, 3, side, side), np.float32))) == {EMPTY, "\n"}


def test_shades_are_dithered_so_that_darker_means_fewer_dots():
    def dots(level: float) -> int:
        return sum(
            (ord(c) - 0x2800).bit_count()
            for c in braille(np.full((1, 1, 28, 28), level, np.float32))
            if c != "\n"
        )

    counts = [dots(level) for level in (0.25, 0.4, 0.55, 0.7)]
    assert counts == sorted(set(counts))
    assert abs(dots(0.5) / 784 - 0.5) < 0.1


def test_the_same_images_give_the_same_text():
    assert braille(images(4)) == braille(images(4))
