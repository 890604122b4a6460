"""JSON lists of any shape at all are images or invalid, exactly as a plain and slow rule says."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codecs import InvalidValue, images_from_json

TARGET = (1, 3, 4)
LEAVES: tuple[Any, ...] = (0, 1, 0.5, 0.25, 1.5, -1, None, True, "x", 1e300, [], {}, float("nan"))
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


def check_outcome(value: Any) -> bool:
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
