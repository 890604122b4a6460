"""Bytes of a request body to one JSON object, strictly.

Knows JSON. Knows nothing of the meaning of the keys. Strict means RFC 8259 and a little more: UTF-8 without a
byte order mark, no NaN or infinity in any spelling, no number beyond a double, no lone surrogate, at most
1,024 levels, an object at the top, and each key once. Memory is bounded before parsing: text is cheap and
lists are not, 8 MiB of `[],` become 225 MB.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import orjson

from service.codecs.describe import describe
from service.codecs.errors import InvalidValue, MalformedBody

#: Levels of lists and objects that orjson parses; it is compiled into it.
MAX_LEVELS: Final = 1_024
_EXPECTED = "one JSON object in UTF-8"
_EXAMPLE = '{"images": [...]}'
_SPARE_VALUES = 10_000
_MOST_OBJECTS = 500
#: Values whose list is 32 MB.
_MANY_VALUES = 1_000_000


def parse_json_object(body: bytes | bytearray, *, max_values: int, example: str = _EXAMPLE) -> dict[str, Any]:
    """The object in a body, with plain Python values.

    Args:
        body: The whole body.
        max_values: Maximum useful number of numbers. There may be as many lists and texts plus some
            thousands, and four times as many numbers up to a million, because an error about a wrong shape or
            too many images is more useful than one about the amount. There may be some hundreds of objects.
        example: An object to send instead, for messages.

    Raises:
        InvalidValue: More than that, counted in the bytes.
        MalformedBody: No such object; the message names the place, never the text.
    """
    if body[:3] == b"\xef\xbb\xbf" or body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MalformedBody("body", _EXPECTED, "a byte order mark", "Send UTF-8 without a byte order mark.")
    if body[:1] in (b"\x89", b"\x93"):
        raise MalformedBody(
            "body",
            _EXPECTED,
            "a PNG or npy file",
            "Send it with its own type: Content-Type: image/png or application/x-npy.",
        )
    _refuse_structure(body, max_values)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody("body", _EXPECTED, _explain(error), _remedy(error, example)) from None
    if type(value) is not dict:
        raise MalformedBody("body", _EXPECTED, describe(value), f"Send an object such as {example}.")
    # Every key has two quotation marks, so an object with exactly that many has no key twice and no text.
    if body.count(b'"') != 2 * len(value):
        _refuse_duplicate_keys(body)
    return value


def _refuse_structure(body: bytes | bytearray, max_values: int) -> None:
    most = max_values + _SPARE_VALUES
    if len(body) <= _SPARE_VALUES:
        return  # too short for too many of anything, and not worth five passes
    for what, count, limit in (
        ("lists", body.count(b"["), most),
        ("texts", body.count(b'"') // 2, most),
        ("objects", body.count(b"{"), _MOST_OBJECTS),
        ("values", body.count(b","), _SPARE_VALUES + max(max_values, min(4 * max_values, _MANY_VALUES))),
    ):
        if count > limit:
            raise InvalidValue(
                "body",
                f"at most {limit} {what}",
                str(count),
                "Send nested lists of plain numbers: many of them in several requests, or as "
                "application/x-npy.",
            )


def _refuse_duplicate_keys(body: bytes | bytearray) -> None:
    """orjson silently keeps the last of equal keys; the standard library's parser shows all of them.

    Twenty times slower, and used only for bodies with text in them, which contain few numbers.
    """

    def refuse(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        place: dict[str, int] = {}
        for at, (key, _) in enumerate(pairs, start=1):
            if key in place:
                got = f"key {at} of an object equal to its key {place[key]}"
                raise MalformedBody("body", "each key once", got, "Send each key once.")
            place[key] = at
        return found

    try:
        json.loads(body, object_pairs_hook=refuse)
    except RecursionError:
        raise MalformedBody("body", _EXPECTED, "too many levels", "Send fewer levels of nesting.") from None


def _explain(error: orjson.JSONDecodeError) -> str:
    """orjson's own words name the defect and the place and quote nothing."""
    return f"not JSON: {error.msg[:120]} at character {error.pos}"


def _remedy(error: orjson.JSONDecodeError, example: str) -> str:
    text = error.msg
    if "empty" in text:
        return f"Send an object such as {example}."
    if "infinity" in text:
        return "Send numbers within the range of a 64-bit float."
    if "depth" in text:
        return "Send fewer levels of nesting."
    if "UTF-8" in text or "surrogate" in text:
        return "Encode the body as UTF-8."
    return "Correct the body at that place; JSON has no NaN, no Infinity, no comments and no trailing commas."
