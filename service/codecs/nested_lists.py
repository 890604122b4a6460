"""Nested JSON lists to one float64 array, strictly and without a Python loop over the numbers.

Knows lists, types and index paths. Knows nothing of JSON text or the meaning of the numbers.

NumPy's own conversion turns true into 1.0, "1.5" into text, and ragged lists into an error without a place.
Here each level is checked as a whole, by the sets of its types and lengths, and flattened. Only if a set is
wrong, the level is searched for the places. 64 images of 784 numbers: 1.3 ms, of which the numbers' types are
0.6 ms (`numpy.array` on the nested lists: 0.8 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.describe import describe, path
from service.codecs.errors import MAX_DEFECTS, Defect, invalid

_NUMBER_TYPES = frozenset({int, float})


def array_from_nested(value: list[Any], sizes: Sequence[int], *, where: str) -> NDArray[np.float64]:
    """The numbers of `value`, of shape `sizes`.

    Args:
        value: Lists nested as deep as `sizes` is long; the caller has checked that its own length is
            `sizes[0]`.
        sizes: Length of every list at each level.
        where: Name of the value, which the index path follows.

    Raises:
        InvalidValue: Up to ten places where a list is missing or of another length, or where a number is
            expected.
    """
    level = value
    for depth in range(1, len(sizes)):
        size = sizes[depth]
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            _refuse(level, sizes[:depth], where, _list_defect(size, innermost=depth == len(sizes) - 1))
        level = list(chain.from_iterable(level))
    if not set(map(type, level)) <= _NUMBER_TYPES:
        _refuse(level, sizes, where, _number_defect)
    return np.array(level, dtype=np.float64).reshape(tuple(sizes))


def nesting(value: object, *, deepest: int) -> tuple[tuple[int, ...], object]:
    """Lengths of the lists on the path of first elements, and the value at its end.

    An empty list ends the descent; so does `deepest`.
    """
    lengths: list[int] = []
    while isinstance(value, list) and len(lengths) < deepest:
        lengths.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(lengths), value


#: Returns the defect of one element as (expected, got, remedy), or None.
_Finder = Callable[[object], tuple[str, str, str] | None]


def _list_defect(size: int, *, innermost: bool) -> _Finder:
    expected = f"{size} {'number' if innermost else 'list'}{'' if size == 1 else 's'}"

    def find(element: object) -> tuple[str, str, str] | None:
        if not isinstance(element, list):
            return f"a list of {expected}", describe(element), "Nest all entries equally deep."
        if len(element) != size:
            return expected, str(len(element)), f"Send {expected} here, as everywhere on this level."
        return None

    return find


def _number_defect(element: object) -> tuple[str, str, str] | None:
    if type(element) in _NUMBER_TYPES:
        return None
    return "a number", describe(element), "Send numbers only, without quotes."


def _refuse(level: list[Any], sizes: Sequence[int], where: str, find: _Finder) -> None:
    """Raise for the first elements of a flattened level for which `find` returns a defect."""
    defects: list[Defect] = []
    for flat, element in enumerate(level):
        wrong = find(element)
        if wrong is None:
            continue
        index = [int(i) for i in np.unravel_index(flat, tuple(sizes))]
        defects.append(Defect(where + path(index), *wrong))
        if len(defects) == MAX_DEFECTS:
            break
    raise invalid(defects)
