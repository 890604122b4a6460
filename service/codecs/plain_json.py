"""The shortest way from a JSON body to an array, for the bodies that most requests have.

Knows simdjson and shapes. Knows nothing of what is wrong with any other body: it gives None for whatever is
not one object with one key and a regular array of plain numbers under it, and the strict way (`json_body.py`,
`nested.py`) then reads the same bytes and says what is wrong, or finds nothing wrong. What this way accepts,
that way accepts, with the same numbers (test_plain_json).

One image of 784 numbers takes 12 µs here and 45 µs there, a third of what its whole request takes: the
numbers never become Python objects. The parser is an extra (`vae-service[fast]`); without it every body goes
the strict way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

try:
    from simdjson import Parser
except ImportError:  # the extra is not installed
    Parser = None  # type: ignore[assignment,misc]

#: Longer bodies go the strict way: the parser keeps room for the longest that it has seen, several times its
#: length, and for many numbers the time of the model is what counts.
MAX_BYTES: Final = 65_536
_local = threading.local()


def plain_rows(
    body: bytes | bytearray, name: str, forms: Sequence[tuple[int, ...]], *, max_rows: int
) -> NDArray[np.float64] | None:
    """The numbers of `{"name": [...]}`, shape (N, *form), or None if that is not exactly what the body is.

    Args:
        body: The whole body.
        name: The one key.
        forms: Shapes that one row may have; several of them must differ in their number of axes.
        max_rows: Most rows.
    """
    if Parser is None or len(body) > MAX_BYTES or body[:1] != b"{" or body.count(b'"') != 2:
        return None
    parser = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = Parser()
    try:
        found: Any = parser.parse(body)
        return _rows(found[name], body.count(b"["), forms, max_rows)
    except (ValueError, TypeError, KeyError, RuntimeError):
        return None


def _rows(
    array: Any, lists: int, forms: Sequence[tuple[int, ...]], max_rows: int
) -> NDArray[np.float64] | None:
    count = len(array)
    if not 1 <= count <= max_rows:
        return None
    for form in forms:
        shape = (count, *form)
        # With as many lists in all as the form has, and each where it belongs as long as it must be, there is
        # none among the numbers.
        if lists == 1 + sum(prod(shape[:axes]) for axes in range(1, len(shape))):
            if not _is_regular(array, form):
                return None
            numbers = np.frombuffer(array.as_buffer(of_type="d"))
            return numbers.reshape(shape) if numbers.size == prod(shape) else None
    return None


def _is_regular(array: Any, form: tuple[int, ...]) -> bool:
    level = list(array)
    for axis, size in enumerate(form):
        if set(map(len, level)) != {size}:
            return False
        if axis < len(form) - 1:
            level = [inner for outer in level for inner in outer]
    return True
