"""Words for a value in a message: its type and size, the number itself, never a client's text."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_INTEGER_BITS = 64
#: Significant digits that distinguish any two float64.
_MOST_DIGITS = 17


def describe(value: object) -> str:
    """At most some dozens of characters, for any value."""
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case int():
            bits = value.bit_length()
            text = str(value) if bits <= _LONGEST_INTEGER_BITS else f"an integer of {bits} bits"
        case float():
            text = repr(value)  # 1.0 is no integer, and 10.0000001 is not 10
        case str():
            text = f"a string of {len(value)} characters"
        case list():
            text = f"a list of {len(value)}"
        case dict():
            text = f"an object of {len(value)} keys"
        case _:
            text = type(value).__name__
    return text


def told_apart(value: float, *bounds: float, digits: int = 6) -> str:
    """`value` in a few significant digits, or in as many as distinguish it from each of `bounds`.

    The same as `model_store.numbers`, which the codecs do not import.
    """
    text = f"{value:.{digits}g}"
    while digits < _MOST_DIGITS and any(float(text) == bound != value for bound in bounds):
        digits += 1
        text = f"{value:.{digits}g}"
    return text


def path(index: Sequence[int]) -> str:
    """`[2][0][13]`."""
    return "".join(f"[{i}]" for i in index)


def shape_text(shape: Sequence[int | str]) -> str:
    """`(N, 1, 28, 28)`, at most eight axes of it."""
    listed = ", ".join(map(str, shape[:8])) + (", …" if len(shape) > 8 else "")
    return f"({listed},)" if len(shape) == 1 else f"({listed})"
