"""JSON bodies to arrays: what is a number stays one, and nothing else becomes one."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs import (
    CodecError,
    InvalidValue,
    MalformedBody,
    images_from_json,
    latents_from_json,
    parse_json_object,
)

SHAPE = (1, 28, 28)
#: More values than any body here has, where their number is not the point.
MOST = 1_000_000


def nested(array: np.ndarray) -> list:
    return orjson.loads(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))


def digits(count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def refused(value: object, *, shape: tuple[int, ...] = SHAPE, most: int = 64) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        images_from_json(value, shape, max_images=most)
    return caught.value


# The body


NOT_STRICT = {
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "-Infinity": b'{"a": -Infinity}',
    "1e400": b'{"a": 1e400}',
    "-1e400": b'{"a": -1e400}',
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "lone surrogate": b'{"a": "\\ud800"}',
    "lone surrogate in a key": b'{"\\udc00": 1}',
    "lone surrogate as bytes": b'{"a": "\xed\xa0\x80"}',
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "bad UTF-8": b'{"a": "\xff"}',
    "100,000 levels of lists": b'{"a": ' + b"[" * 100_000,
    "100,000 levels, closed": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "1,020 levels and a text": b'{"a": ' + b"[" * 1020 + b"]" * 1020 + b', "b": "c"}',
    "empty": b"",
    "blank": b" \n\t ",
    "a list": b"[1]",
    "a number": b"1",
    "a text": b'"{}"',
    "null": b"null",
    "two objects": b"{} {}",
    "trailing comma": b'{"a": 1,}',
    "comment": b'{"a": 1} // one',
    "single quotes": b"{'a': 1}",
    "leading zero": b'{"a": 01}',
    "plus sign": b'{"a": +1}',
    "hexadecimal": b'{"a": 0x10}',
    "bare point": b'{"a": .5}',
    "cut short": b'{"a": [1, 2',
    "null byte": b'{"a": 1}\x00',
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    "npy": b"\x93NUMPY\x01\0" + b"\0" * 100,
}


@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT.keys())
def test_a_body_that_is_not_strict_json_is_refused(body):
    with pytest.raises(MalformedBody) as caught:
        parse_json_object(body, max_values=MOST)
    assert caught.value.where == "body"
    assert caught.value.remedy
    assert len(str(caught.value)) < 400


DUPLICATES = {
    "plain": b'{"seed": 1, "seed": 2}',
    "equal values": b'{"seed": 1, "seed": 1}',
    "escaped": b'{"seed": 1, "\\u0073eed": 2}',
    "space before the colon": b'{"seed": 1, "seed"  : 2}',
    "beside a text": b'{"seed": 1, "b": "seed", "seed": 2}',
    "in an inner object": b'{"a": {"b": 1, "b": 2}}',
    "hidden by a text with quotes": b'{"a": "\\"", "a": 1}',
    "after many numbers": b'{"images": [' + b"0.5," * 10_000 + b'0.5], "images": []}',
    "empty key": b'{"": 1, "": 2}',
}


@pytest.mark.parametrize("body", DUPLICATES.values(), ids=DUPLICATES.keys())
def test_a_key_that_comes_twice_is_refused(body):
    """Which of the two is meant depends on the parser, so two programs may read different requests."""
    with pytest.raises(MalformedBody, match="each key once"):
        parse_json_object(body, max_values=MOST)


def test_equal_keys_in_different_objects_are_no_duplicates():
    body = b'{"a": {"a": 1}, "b": [{"a": 2}, {"a": "b"}]}'
    assert parse_json_object(body, max_values=MOST) == {"a": {"a": 1}, "b": [{"a": 2}, {"a": "b"}]}


def test_texts_that_look_like_keys_are_no_duplicates():
    assert parse_json_object(b'{"a": "a", "b": "\\"a\\":"}', max_values=MOST) == {"a": "a", "b": '"a":'}


SCALARS = st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_any_proper_object_is_read_as_it_was_written(value):
    assert parse_json_object(orjson.dumps(value), max_values=MOST) == value


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE+-truefalsn\\u ', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_malformed(body):
    try:
        outcome = parse_json_object(body, max_values=MOST)
    except MalformedBody as error:
        outcome = {"message": str(error)[:400]}
    assert isinstance(outcome, dict)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b'"secret-secret",' * 65_000 + b"1",
        b'{"secret-secret' + b"x" * 1_000_000 + b'": 1} secret-secret',
        b'{"secret-secret": 1, ' * 2 + b"}" + b" " * 1_000_000,
        b'{"secret-secret!": 1, "secret-secret!": 2, "a": "' + b"y" * 1_000_000 + b'"}',
        b'{"k": ' + b'["secret-secret"],' * 55_000,
    ],
    ids=["list", "key", "nested", "duplicate", "lists"],
)
def test_a_mebibyte_of_bad_body_is_refused_quickly_without_an_echo(body):
    started = time.thread_time()
    with pytest.raises(MalformedBody) as caught:
        parse_json_object(body, max_values=MOST)
    assert time.thread_time() - started < 0.2
    assert "secret-secret" not in str(caught.value)
    assert len(str(caught.value)) < 400


# Images


HEAVY = {
    "lists": b'{"images": [' + b"[]," * 350_000 + b"[]]}",
    "texts": b'{"images": [' + b'"abcd",' * 150_000 + b'"abcd"]}',
    "keys": b"{" + b",".join(b'"key%d":1' % i for i in range(100_000)) + b"}",
    "objects": b'{"images": [' + b"{}," * 350_000 + b"{}]}",
    "numbers": b'{"images": [' + b"0.5," * 250_000 + b"1]}",
    "levels of objects": b'{"a":' * 100_000,
    "levels": b'{"images": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY)
def test_a_structure_far_heavier_than_any_batch_is_never_built(body):
    """8 MiB of empty lists became 225 MB of memory, 8 MiB of small objects 3 s of work."""
    tracemalloc.start()
    begun = time.thread_time()
    try:
        with pytest.raises(InvalidValue, match=r"at most [0-9]+ (lists|texts|objects|values), got [0-9]+"):
            parse_json_object(body, max_values=64 * 784)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert time.thread_time() - begun < 0.05


def test_a_full_batch_in_its_heaviest_wrong_shape_is_told_its_shape():
    """Every pixel in a list of its own, or in quotes: the message is about that, not about the amount."""
    rng = np.random.default_rng(0)
    pixels = rng.random((64, 28, 28, 1)).round(3)
    lists = parse_json_object(orjson.dumps({"images": pixels.tolist()}), max_values=64 * 784)
    with pytest.raises(InvalidValue, match="Put the channels first"):
        images_from_json(lists["images"], SHAPE, max_images=64)
    quoted = pixels[:, :, :, 0].astype(str).tolist()
    texts = parse_json_object(orjson.dumps({"images": quoted}), max_values=64 * 784)
    with pytest.raises(InvalidValue, match="without quotes"):
        images_from_json(texts["images"], SHAPE, max_images=64)


def test_three_times_too_many_images_are_told_their_number():
    body = orjson.dumps({"images": np.full((192, 28, 28), 0.123).tolist()})
    value = parse_json_object(body, max_values=64 * 784)["images"]
    with pytest.raises(InvalidValue, match="1 to 64 entries, got 192"):
        images_from_json(value, SHAPE, max_images=64)


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
        latents = [[0.5] * 12]
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


# Any shape at all

TARGET = (1, 3, 4)
LEAVES = (0, 1, 0.5, 0.25, 1.5, -1, None, True, "x", 1e300, [], {}, float("nan"))
NEAR_MISSES = (
    (1, 3, 4),
    (3, 4),
    (4, 3),
    (3, 4, 1),
    (1, 1, 3, 4),
    (4,),
    (12,),
    (),
    (0,),
    (1, 3, 0),
    (2, 3, 4),
)


def generated(rng: random.Random) -> object:
    """Lists near enough to images that every check is reached, then harmed in up to two places."""
    row = TARGET if rng.random() < 0.5 else rng.choice(NEAR_MISSES)
    value = filled((rng.randint(0, 9), *row), rng.choice((0, 0.5, 1, rng.choice(LEAVES))))
    for _ in range(rng.randint(0, 2)):
        place = value
        while isinstance(place, list) and place and isinstance(place[0], list) and rng.random() < 0.8:
            place = rng.choice(place)
        if isinstance(place, list) and place:
            at = rng.randrange(len(place))
            harm = rng.randrange(4)
            if harm == 0:
                del place[at]
            elif harm == 1:
                place[at] = rng.choice(LEAVES)
            elif harm == 2:
                place.insert(at, place[at])
            else:
                place[at] = [place[at]]
    return value


def filled(sizes: tuple[int, ...], leaf: object) -> object:
    return [filled(sizes[1:], leaf) for _ in range(sizes[0])] if sizes else leaf


def check_outcome(value: object) -> bool:
    """Whether `value` was accepted; it must have been exactly when the plain rule says so."""
    try:
        x = images_from_json(value, TARGET, max_images=8)
    except InvalidValue as error:
        refusal = error
    else:
        assert _fits(value)
        assert x.shape == (len(value), *TARGET)
        np.testing.assert_array_equal(x.ravel(), np.array(value, dtype=np.float32).ravel())
        return True
    assert not _fits(value)
    assert 1 <= len(refusal.defects) <= 10
    assert all(d.where.startswith("images") and d.expected and d.got and d.remedy for d in refusal.defects)
    assert len(str(refusal)) < 4000
    return False


def test_5_000_generated_shapes_are_images_or_invalid():
    rng = random.Random(6)
    accepted = sum(check_outcome(generated(rng)) for _ in range(5000))
    assert 250 < accepted < 2500


@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        st.sampled_from(LEAVES),
        lambda inner: st.lists(inner, max_size=4) | st.lists(inner, min_size=4, max_size=4),
        max_leaves=20,
    )
)
def test_any_nesting_at_all_is_images_or_invalid(value):
    check_outcome(value)


def _fits(value: object) -> bool:
    """The rule again, slowly and plainly."""

    def is_list_of(value: object, size: int, inner) -> bool:
        return isinstance(value, list) and len(value) == size and all(map(inner, value))

    def pixel(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1

    def plane(value: object) -> bool:
        return is_list_of(value, 3, lambda row: is_list_of(row, 4, pixel))

    def image(value: object) -> bool:
        return is_list_of(value, 1, plane)

    return (
        isinstance(value, list)
        and 1 <= len(value) <= 8
        and (all(map(plane, value)) or all(map(image, value)))
    )


def test_64_images_are_read_in_a_few_milliseconds():
    """The bar is loose, for busy machines; about 2.5 ms when idle, where a loop over numbers takes 20."""
    body = orjson.dumps({"images": digits(64)}, option=orjson.OPT_SERIALIZE_NUMPY)
    times = []
    for _ in range(5):
        started = time.thread_time()
        images_from_json(parse_json_object(body, max_values=MOST)["images"], SHAPE, max_images=64)
        times.append(time.thread_time() - started)
    assert min(times) < 0.012


def test_a_mebibyte_of_wrong_values_is_refused_quickly():
    bad = [None] * 784
    for value in ([bad] * 250, [[bad] * 250], [[[b] * 28] * 28 for b in ("x", True, None)] * 80, [[]] * 250):
        started = time.thread_time()
        error = refused(value, most=250)
        assert time.thread_time() - started < 0.2
        assert len(str(error)) < 4000
        assert isinstance(error, CodecError)
