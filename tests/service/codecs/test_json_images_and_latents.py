"""JSON lists to arrays: what is a number stays one, and nothing else becomes one."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import orjson
import pytest
from json_arrays import MOST, SHAPE, digits, nested, refused
from patience import slowness

from service.codecs import (
    CodecError,
    InvalidValue,
    images_from_json,
    latents_from_json,
    parse_json_object,
)

# Images


def test_images_keep_every_bit_on_their_way_through_json():
    x = digits(64)
    back = images_from_json(nested(x), SHAPE, max_images=64)
    assert back.dtype == np.float32
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, x)


def test_one_channel_may_be_left_out():
    x = digits(3)
    np.testing.assert_array_equal(images_from_json(nested(x[:, 0]), SHAPE, max_images=64), x)


def test_colour_images_are_taken_channels_first():
    x = digits(2, (3, 4, 5))
    np.testing.assert_array_equal(images_from_json(nested(x), (3, 4, 5), max_images=64), x)


def test_whole_numbers_zero_and_one_are_numbers():
    value = [[[0] * 28] * 14 + [[1] * 28] * 14]
    assert images_from_json(value, SHAPE, max_images=1).sum() == 14 * 28


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ("0.5", "a string of 3 characters"),
        ("NaN", "a string of 3 characters"),
        ([], "a list of 0"),
        ([0.5], "a list of 1"),
        ({}, "an object of 0 keys"),
    ],
    ids=repr,
)
def test_nothing_but_a_number_is_a_pixel(bad, got):
    """NumPy would have taken true for 1.0."""
    value = nested(digits(3))
    value[2][0][13][5] = bad
    error = refused(value)
    assert (
        str(error) == f"images[2][0][13][5]: expected a number, got {got}. Send numbers only, without quotes."
    )


@pytest.mark.parametrize(
    "bad", [-1e-9, 1.0000001, 2, 255, 1e300, -1e300, float("nan"), float("inf"), 10**300]
)
def test_a_pixel_outside_zero_to_one_is_refused(bad):
    value = nested(digits(3))
    value[1][0][0][27] = bad
    error = refused(value)
    assert error.where == "images[1][0][0][27]"
    assert error.expected == "a pixel in [0, 1]"
    assert "255" in error.remedy


def test_a_short_row_is_named():
    value = nested(digits(3))
    value[2][0][13].pop()
    assert str(refused(value)).startswith("images[2][0][13]: expected 28 numbers, got 27.")


def test_a_missing_row_is_named_without_the_channel_axis_too():
    value = nested(digits(3)[:, 0])
    value[1].pop()
    assert str(refused(value)).startswith("images[1]: expected 28 lists, got 27.")


def test_a_single_image_is_told_to_be_wrapped():
    one = nested(digits(1)[0, 0])
    error = refused(one)
    assert "(28, 28)" in error.got
    assert error.remedy == "Wrap it in a list, even a single one: [...]."


def test_a_single_colour_image_is_told_to_be_wrapped():
    assert "Wrap it in a list" in refused(nested(digits(1, (3, 4, 5))[0]), shape=(3, 4, 5)).remedy


def test_channels_last_are_told_to_come_first():
    error = refused(nested(digits(2, (4, 5, 3))), shape=(3, 4, 5))
    assert error.remedy == "Put the channels first."


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "images", {}, {"0": []}], ids=repr)
def test_what_is_no_list_is_no_images(value):
    assert refused(value).where == "images"


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, True), (8, True), (9, False)])
def test_the_number_of_images_is_bounded(count, fits):
    value = nested(digits(9))[:count]
    if fits:
        assert len(images_from_json(value, SHAPE, max_images=8)) == count
    else:
        assert str(refused(value, most=8)).startswith(f"images: expected 1 to 8 entries, got {count}.")


def test_ten_defects_are_told_and_no_more():
    value = nested(digits(20))
    for image in value:
        image[0][3][4] = "secret"
    error = refused(value)
    assert [defect.where for defect in error.defects] == [f"images[{i}][0][3][4]" for i in range(10)]
    assert "secret" not in str(error)


def test_each_image_out_of_range_is_told_once():
    error = refused(nested(digits(3) + 1))
    assert [defect.where for defect in error.defects] == [f"images[{i}][0][0][0]" for i in range(3)]


def test_every_numeric_place_refuses_every_kind_of_non_number():
    kinds = [True, None, "1", "NaN", [], {}, float("nan"), float("inf"), 1e39, "\U0001f600"]
    for bad, where in itertools.product(kinds, range(12)):
        value = nested(digits(1, (1, 3, 4)))
        value[0][0][where // 4][where % 4] = bad
        refused(value, shape=(1, 3, 4))
        latents: Any = [[0.5] * 12]
        latents[0][where] = bad
        with pytest.raises(InvalidValue):
            latents_from_json(latents, 12, max_images=4)


# Latents


def test_latents_keep_every_bit():
    z = np.random.default_rng(1).standard_normal((5, 32), dtype=np.float32)
    np.testing.assert_array_equal(latents_from_json(nested(z), 32, max_images=5), z)


def test_a_single_latent_is_told_to_be_wrapped():
    with pytest.raises(InvalidValue, match=r"z: .*\(32,\), 1 deep\. Wrap it in a list"):
        latents_from_json([0.5] * 32, 32, max_images=5)


def test_a_latent_beyond_float32_is_refused_and_does_not_become_infinite():
    with pytest.raises(InvalidValue, match=r"z\[0\]\[1\]: expected a finite 32-bit float, got 1e\+39"):
        latents_from_json([[0.0, 1e39]], 2, max_images=5)


def test_a_latent_of_another_length_is_named():
    with pytest.raises(InvalidValue, match=r"z\[1\]: expected 2 numbers, got 3"):
        latents_from_json([[0, 1], [0, 1, 2]], 2, max_images=5)


# Time


def test_64_images_are_read_in_a_few_milliseconds():
    """The bar is loose, for busy machines; about 2.5 ms when idle, where a loop over numbers takes 20."""
    body = orjson.dumps({"images": digits(64)}, option=orjson.OPT_SERIALIZE_NUMPY)
    times = []
    for _ in range(5):
        started = time.thread_time()
        images_from_json(parse_json_object(body, max_values=MOST)["images"], SHAPE, max_images=64)
        times.append(time.thread_time() - started)
    assert min(times) < 0.012 * slowness()


def test_a_mebibyte_of_wrong_values_is_refused_quickly():
    bad = [None] * 784
    for value in ([bad] * 250, [[bad] * 250], [[[b] * 28] * 28 for b in ("x", True, None)] * 80, [[]] * 250):
        started = time.thread_time()
        error = refused(value, most=250)
        assert time.thread_time() - started < 0.2 * slowness()
        assert len(str(error)) < 4000
        assert isinstance(error, CodecError)
