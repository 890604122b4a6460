"""JSON that could mean two things is refused."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import slowness

from model_store.strict_json import MAX_DEPTH, parse_object


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": {"a": 1, "a": 1}}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e400}', "too large"),
        (b"[1]", "expected a JSON object"),
        (b"3", "expected a JSON object"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1} x', "Extra data"),
        (b"", "Expecting value"),
        (b'{"a": ' + b"9" * 5000 + b"}", "limit"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
    ],
)
def test_ambiguous_or_malformed_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_object(data)


def test_brackets_inside_strings_are_no_nesting() -> None:
    value = {"a": "[" * 1000 + '"{\\', "b": ["]"] * 3}
    assert parse_object(json.dumps(value).encode()) == value


def test_depth_is_allowed_up_to_the_limit_and_not_one_beyond() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    parse_object(nested(MAX_DEPTH))
    with pytest.raises(ValueError, match="nested deeper"):
        parse_object(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("unit", [b'"\\"', b'"', b'\\"', b'{"', b"[]", b'"\\'])
def test_a_megabyte_of_hostile_text_is_refused_in_linear_time(unit: bytes) -> None:
    data = unit * (1_000_000 // len(unit))
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"."):
        parse_object(data)
    assert time.thread_time() - started < 5.0 * slowness()


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**60), 2**60)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_plain_json_is_read_as_written(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value
