"""JSON bodies: strict objects of no more than a batch holds are read as written, and nothing else is."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_arrays import MOST, SHAPE
from patience import slowness

from service.codecs import InvalidValue, MalformedBody, images_from_json, parse_json_object

# What is no strict object


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
    with pytest.raises(MalformedBody, match=r"each key once, got key [23] of an object equal to its key 1"):
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
    assert time.thread_time() - started < 0.2 * slowness()
    assert "secret-secret" not in str(caught.value)
    assert len(str(caught.value)) < 400


# What is too much


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
    assert time.thread_time() - begun < 0.05 * slowness()


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
