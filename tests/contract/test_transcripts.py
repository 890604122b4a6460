"""A transcript shows every difference between two answers, but those that differ from run to run."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import json_text
from recorded.commands import lines_of
from recorded.notebook import Notebook
from recorded.payloads import npy, png, ramp
from recorded.transcript import Answer, Varying, answer_lines

_JSON = ("content-type", "application/json")
_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def shown(body: bytes, *headers: tuple[str, str], status: int = 200, varying: Varying | None = None) -> str:
    return "\n".join(answer_lines(Answer(status, headers, body), varying or Varying()))


@given(_BODIES, st.booleans())
def test_json_in_lines_is_the_same_json_token_by_token(value: object, escaped: bool) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=escaped)
    lines = json_text.lines_of(text, whole=True)
    assert lines is not None
    tokens = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+', re.DOTALL)
    # A line break within a text has no place in JSON, so every piece between quotes stands in one line.
    assert "".join(tokens.findall("\n".join(lines))) == text


def test_of_a_long_array_the_rest_is_shown_by_its_digest() -> None:
    one, other = (json.dumps([*range(500), last], separators=(",", ":")) for last in (1, 2))
    shown_lines = json_text.lines_of(one)
    assert shown_lines is not None
    assert len(shown_lines) < 10
    assert shown_lines != json_text.lines_of(other)


def test_of_an_object_that_came_before_the_rest_is_shown_by_its_digest() -> None:
    names = [f"name {number}" for number in range(30)]
    same, changed = {"a": names}, {"a": [*names[:-1], "another"]}
    texts = [json.dumps([same, other], separators=(",", ":")) for other in (same, changed)]
    shown_lines = [json_text.lines_of(text) or [] for text in texts]
    assert "as above" in "".join(shown_lines[0])
    assert "as above" not in "".join(shown_lines[1])
    assert "another" in "".join(shown_lines[1])


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"a":1', "[1]]", "[1,]", '{"a"}', '{"a":1,,}', "{1:[}"])
def test_other_text_is_not_broken_into_lines_as_json(text: str) -> None:
    assert json_text.lines_of(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":0.1}', b'{"a":0.10}'),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        (b'{"a":1}', b'{"a": 1}'),
        (b'{"a":1}', b'{"a":1}\n'),
        (b'{"a":1}\n', b'{"a":1}\n\n'),
        (b'{"a":"1"}', b'{"a":"1 "}'),
        ('{"a":"é"}'.encode(), b'{"a":"\\u00e9"}'),
        (b"[]", b"{}"),
    ],
)
def test_every_difference_in_json_is_shown(one: bytes, other: bytes) -> None:
    assert shown(one, _JSON) != shown(other, _JSON)


def test_status_name_value_and_order_of_headers_are_shown() -> None:
    a, b = ("x-a", "1"), ("x-b", "2")
    texts = [
        shown(b"", a, b),
        shown(b"", b, a),
        shown(b"", a),
        shown(b"", a, a, b),
        shown(b"", ("X-A", "1"), b),
        shown(b"", ("x-a", "1 "), b),
        shown(b"", a, b, status=201),
    ]
    assert len(set(texts)) == len(texts)


def test_files_are_shown_by_their_values_and_all_of_their_bytes() -> None:
    array = np.arange(4, dtype=np.float32)
    named = io.BytesIO()
    np.savez(named, a=array)
    for media_type, body in (
        ("application/x-npy", npy(array).data),
        ("application/x-npz", named.getvalue()),
        ("application/x-unknown", b"abcd"),
        ("text/plain", b"abcd"),
    ):
        kind = ("content-type", media_type)
        changed = body[:-1] + bytes([body[-1] ^ 1])
        if media_type != "application/x-npz":  # whose last byte is a length
            assert shown(body, kind) != shown(changed, kind)
    assert "0 1 2 3" in shown(named.getvalue(), ("content-type", "application/x-npz"))


def test_picture_is_shown_by_its_chunks_and_pixels_however_it_was_compressed() -> None:
    kind = ("content-type", "image/png")
    text = shown(png(6, 4, ramp(24)).data, kind, ("content-length", str(len(png(6, 4, ramp(24)).data))))
    assert "content-length: <length of the body>" in text
    assert ramp(6).hex() in text
    assert shown(png(6, 4, ramp(24, step=12)).data, kind) != shown(png(6, 4, ramp(24)).data, kind)
    assert "content-length: 1" in shown(png(6, 4, ramp(24)).data, kind, ("content-length", "1"))


def test_packed_body_is_shown_unpacked_without_its_length() -> None:
    body = b'{"n":[' + b"1,2," * 200 + b"3]}\n"
    quick, small = (gzip.compress(body, level, mtime=0) for level in (1, 9))
    assert len(quick) != len(small)
    texts = {
        shown(packed, _JSON, ("content-encoding", "gzip"), ("content-length", str(len(packed))))
        for packed in (quick, small)
    }
    (text,) = texts
    assert "content-encoding: gzip" in text
    assert text.split("<\n")[1] == shown(body, _JSON).split("<\n")[1]


def test_what_differs_from_run_to_run_has_a_name() -> None:
    headers = (
        ("x-request-id", "0123456789abcdef"),
        ("server-timing", "read;dur=0.123, total;dur=4.500"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        _JSON,
    )
    text = shown(b'{"request_id":"0123456789abcdef"}', *headers)
    assert "x-request-id: <id>" in text
    assert '{"request_id": "<id>"}' in text
    assert "server-timing: read, total\n" in text
    assert "date: <date>" in text
    own = shown(b'{"request_id":"mine"}', ("x-request-id", "mine"), _JSON)
    assert own.count("mine") == 2


def test_second_problem_of_a_code_still_shows_every_difference(tmp_path: Path) -> None:
    title = "A title that is longer than a few words are, so that the whole does not fit into a line"
    item = {"where": "z", "expected": "1", "got": "2", "remedy": "Send 1."}
    problem = {
        "type": "/problems/x",
        "title": title,
        "status": 422,
        "code": "x",
        "detail": "z: expected 1, got 2. Send 1.",
        "remedy": "Do it.",
        "request_id": "mine",
        "errors": [item],
    }
    changes: list[dict[str, object]] = [
        {},
        {"title": f"{title}!"},
        {"status": 423},
        {"remedy": "Do that."},
        {"request_id": "another"},
        {"detail": "z: expected 1, got 2. Send 1!"},
        {"errors": []},
        {"errors": [item, item]},
        {"errors": [{**item, "got": "3"}]},
        {"errors": [dict(reversed(item.items()))]},
        {"more": 1},
    ]
    texts = []
    for change in changes:
        notebook = Notebook(tmp_path, tmp_path)
        for each in (problem, {**problem, **change}):
            body = json.dumps(each, separators=(",", ":")).encode() + b"\n"
            answer = Answer(422, (("content-type", "application/problem+json"),), body)
            notebook.note([], answer_lines(answer))
        texts.append(notebook.text)
    assert "[the parts of detail]" in texts[0]
    assert len(set(texts)) == len(changes)


def test_usage_is_one_line_wherever_it_was_broken() -> None:
    broken = list(lines_of("usage: a [-b]\n         [--c C]\n\nwhat it does\n  --c C  see\n"))
    assert broken == list(lines_of("usage: a [-b] [--c C]\n\nwhat it does\n  --c C  see\n"))
    assert broken[0] == "usage: a [-b] [--c C]"
