"""The fastest way from a JSON body to an array, for the bodies of most requests.

Knows simdjson and shapes. Knows nothing of the defects of a body. It returns None for any body that is not
one object with one key and a regular array of plain numbers. The strict way (`strict_json.py`,
`nested_lists.py`) then reads the same bytes, and reports a defect or accepts them. The strict way accepts
every body that this way accepts, with the same numbers (test_fast_json).

One image of 784 numbers takes 13 µs here, a sixth of its whole request, and 32 µs there: the numbers never
become Python objects. Requests of 64 images to a small MLP are answered 2.8 times as fast. The parser is an
extra (`vae-service[fast]`); without it every body goes the strict way.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

try:
    from simdjson import Parser
except ImportError:  # the extra is not installed
    Parser = None  # type: ignore[assignment,misc]

#: Longer bodies go the strict way, which bounds lists and numbers before a parser allocates memory for them.
MAX_BYTES: Final = 2_097_152
#: A parser keeps memory for its longest body, 14 times the body's length. For a body longer than this, it is
#: created again, which costs almost nothing compared to the parsing.
_KEPT_BYTES: Final = 262_144
_local = threading.local()


def plain_rows(
    body: bytes | bytearray, name: str, forms: Sequence[tuple[int, ...]], *, max_rows: int
) -> NDArray[np.float64] | None:
    """The numbers of `{"name": [...]}`, shape (N, *form), or None if the body is anything else.

    Args:
        body: The whole body.
        name: The one key.
        forms: Possible shapes of one row; several of them must differ in their number of axes.
        max_rows: Maximum number of rows.
    """
    if Parser is None or len(body) > MAX_BYTES or body[:1] != b"{" or not _has_one_text(body, name):
        return None
    parser = _kept_parser() if len(body) <= _KEPT_BYTES else Parser()
    try:
        found: Any = parser.parse(body)
        return _rows(found[name], _lists_in(body), forms, max_rows)
    except (ValueError, TypeError, KeyError, RuntimeError):
        return None


def number_list(text: bytes, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The numbers of one list, flat, or None if the text is anything else.

    Args:
        text: A JSON list of numbers, or of lists nested as `shape`.
        shape: The shape of the array; a flat list may have any length.
    """
    if Parser is None or len(text) > MAX_BYTES:
        return None
    parser = _kept_parser() if len(text) <= _KEPT_BYTES else Parser()
    lists = _lists_in(text)
    try:
        found: Any = parser.parse(text)
        if lists == 1:
            return np.frombuffer(found.as_buffer(of_type="d")) if len(found) else None
        rows = _rows(found, lists, (shape[1:],), max_rows=shape[0])
    except (ValueError, TypeError, KeyError, RuntimeError, IndexError):
        return None
    return rows.ravel() if rows is not None and len(rows) == shape[0] else None


def _kept_parser() -> Any:
    try:
        return _local.parser
    except AttributeError:
        _local.parser = Parser()
        return _local.parser


def _has_one_text(body: bytes | bytearray, name: str) -> bool:
    """Whether `"name"` is the first text and the only one: then there is one key, and no other below it."""
    first = body.find(b'"')
    second = body.find(b'"', first + 1)
    return body[first + 1 : second] == name.encode() and body.find(b'"', second + 1) < 0


def _lists_in(body: bytes | bytearray) -> int:
    """Their number, if no text contains a bracket: a sixth of the time of `bytes.count`."""
    return len(body) - len(body.replace(b"[", b""))


def _rows(
    array: Any, lists: int, forms: Sequence[tuple[int, ...]], max_rows: int
) -> NDArray[np.float64] | None:
    count = len(array)
    if not 1 <= count <= max_rows:
        return None
    for form in forms:
        # If the number of all lists is right, and each list on the first path has the right length, then no
        # list is among the numbers.
        if lists == 1 + count * _lists_per_row(form):
            if not _is_regular(array, form):
                return None
            numbers = np.frombuffer(array.as_buffer(of_type="d"))
            return numbers.reshape(count, *form) if numbers.size == count * prod(form) else None
    return None


@functools.lru_cache(maxsize=64)
def _lists_per_row(form: tuple[int, ...]) -> int:
    return sum(prod(form[:axes]) for axes in range(len(form)))


def _is_regular(array: Any, form: tuple[int, ...]) -> bool:
    level = array
    for size in form[:-1]:
        level = list(level)
        if set(map(len, level)) != {size}:
            return False
        level = chain.from_iterable(level)
    return set(map(len, level)) == {form[-1]}
