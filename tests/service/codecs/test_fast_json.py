"""The short way from JSON to an array takes nothing that the strict way refuses, and changes no number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.codecs import fast_json
from service.codecs.errors import CodecError
from service.codecs.tensors import (
    images_from_json,
    latents_from_json,
    parse_json_object,
    plain_images,
    plain_latents,
)

SHAPE = (1, 2, 3)


def strictly(body: bytes) -> np.ndarray | None:
    """What the strict way makes of a body with that one key; None where it refuses."""
    try:
        value = parse_json_object(body, max_values=1000)
        return None if set(value) != {"images"} else images_from_json(value["images"], SHAPE, max_images=4)
    except CodecError:
        return None


def shortly(body: bytes) -> np.ndarray | None:
    try:
        return plain_images(body, SHAPE, max_images=4)
    except CodecError:
        return None


def body_of(value: object) -> bytes:
    return json.dumps({"images": value}).encode()


IMAGE = [[0.0, 0.5, 1], [0.25, 1e-3, 0]]
ODD_BODIES = (
    b"",
    b"{}",
    b"[]",
    b'{"images": 3}',
    b'{"images": []}',
    b'{"images": [[]]}',
    b'{"images": {}}',
    b'{"images": null}',
    body_of([IMAGE, IMAGE[:1]]),
    body_of([[[0, 0], [0, 0, 0, 0]]]),  # as many numbers and lists as there must be, in other places
    body_of([[[0, 0, 0], [0, [0], 0]]]),
    body_of([[[0, 0, [0, 0]], [0, 0]]]),
    body_of([[[0, 0, True], [0, 0, 0]]]),
    body_of([[[0, 0, None], [0, 0, 0]]]),
    body_of([[[0, 0, "0"], [0, 0, 0]]]),
    body_of([[[0, 0, {}], [0, 0, 0]]]),
    body_of([[[0, 0, "[["], [0, 0, 0]]]),
    body_of([[[0, 0, 0], [0, 0, '"[']]]),
    body_of([[[0, 0, [0]], [0, 0, 0]]]),
    body_of([[[0, 0, 0, 0, 0, 0], []]]),
    b'{"images": {"[[": 1}}',
    b'{"images": {"[[": [[0, 0, 0], [0, 0, 0]]}}',
    b'{"x": "images", "images": [[[0,0,0],[0,0,0]]]}',
    body_of([[[0, 0, 1.5], [0, 0, 0]]]),
    body_of([[[0, 0, -0.1], [0, 0, 0]]]),
    body_of([IMAGE] * 5),
    body_of([IMAGE]) + b"x",
    body_of([IMAGE])[:-1],
    b"\xef\xbb\xbf" + body_of([IMAGE]),
    body_of([IMAGE]).replace(b"0.5", b"1e400"),
    body_of([IMAGE]).replace(b"0.5", b"NaN"),
    body_of([IMAGE]).replace(b"0.5", b".5"),
    body_of([IMAGE]).replace(b"0.5", b"00.5"),
    body_of([IMAGE]).replace(b"0.5", b"1" + b"0" * 400),
    body_of([IMAGE]).replace(b"images", b"imagez"),
    body_of([IMAGE]).replace(b"images", b"im\\u0061ges"),
    body_of([IMAGE]).replace(b"images", b"im\xffges"),
    b'{"images": [[[0,0,0],[0,0,0]]], "images": [[[0,0,0],[0,0,0]]]}',
    b'{"images": [[[0,0,0],[0,0,0]]], "seed": 1}',
    b'{"images": ' + b"[" * 2000 + b"]" * 2000 + b"}",
)


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_what_the_strict_way_refuses_is_never_taken(body: bytes) -> None:
    short, strict = shortly(body), strictly(body)
    assert short is None or (strict is not None and short.tobytes() == strict.tobytes())


numbers = st.one_of(
    st.floats(0, 1),
    st.integers(0, 1),
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
rows = st.lists(st.floats(0, 1), min_size=3, max_size=3)
shapely = st.lists(st.lists(rows, min_size=2, max_size=2), max_size=5)
anything = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=40)


@settings(max_examples=300)
@given(st.one_of(shapely, anything))
@example([IMAGE])
@example([[IMAGE]])
def test_both_ways_give_the_same_bits_or_the_short_one_gives_way(value: object) -> None:
    body = json.dumps({"images": value}).encode()  # with NaN and Infinity, as Python writes them
    short, strict = shortly(body), strictly(body)
    assert short is None or (strict is not None and short.tobytes() == strict.tobytes())


def test_regular_bodies_go_the_short_way() -> None:
    """The twin of the tests above, which a way that takes nothing would pass."""
    for value in ([IMAGE], [[IMAGE]], [IMAGE, IMAGE]):
        array = plain_images(body_of(value), SHAPE, max_images=4)
        assert array is not None
        np.testing.assert_array_equal(array, np.array(value, np.float32).reshape(-1, *SHAPE))
    assert plain_latents(b'{"z": [[1, -2.5], [0, 1e-30]]}', 2, max_images=4) is not None


def test_pixels_out_of_range_are_named_as_the_strict_way_names_them() -> None:
    with pytest.raises(CodecError) as short:
        plain_images(body_of([[[0, 0, 1.5], [0, 0, 0]]]), SHAPE, max_images=4)
    with pytest.raises(CodecError) as strict:
        images_from_json([[[0, 0, 1.5], [0, 0, 0]]], SHAPE, max_images=4)
    assert str(short.value) == str(strict.value)


def test_latents_are_the_same_both_ways() -> None:
    body = b'{"z": [[0.1, -12345.678901234567], [3, -0.0]]}'
    array = plain_latents(body, 2, max_images=4)
    assert array is not None
    strict = latents_from_json(json.loads(body)["z"], 2, max_images=4)
    assert array.tobytes() == strict.tobytes()


@pytest.mark.parametrize(
    "body", [b'{"z":{"[[":1}}', b'{"z":{"[[":[1,2]}}', b'{"z":"[["}', b'{"z":["[[",1]}', b'{"z":[{"[":1}]}']
)
def test_what_stands_for_no_latents_is_left_to_the_strict_way(body: bytes) -> None:
    """An object of one key that is as long as a row, with brackets in it, looks like lists."""
    assert plain_latents(body, 2, max_images=4) is None


@pytest.mark.parametrize("kept_bytes", [1, 1 << 20])
def test_many_images_are_the_same_both_ways(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    """With the parser that is kept and with one made for the body."""
    monkeypatch.setattr(fast_json, "_KEPT_BYTES", kept_bytes)
    value = np.random.default_rng(0).random((64, 28, 28)).tolist()
    array = plain_images(body_of(value), (1, 28, 28), max_images=64)
    assert array is not None
    assert array.tobytes() == images_from_json(value, (1, 28, 28), max_images=64).tobytes()


def test_long_bodies_go_the_strict_way() -> None:
    body = body_of([IMAGE]) + b" " * fast_json.MAX_BYTES
    assert plain_images(body, SHAPE, max_images=4) is None


def test_without_the_extra_every_body_goes_the_strict_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_json, "Parser", None)
    assert plain_images(body_of([IMAGE]), SHAPE, max_images=4) is None
