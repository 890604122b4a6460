"""Numbers in messages. Knows digits; knows nothing of their meaning."""

from __future__ import annotations

from typing import Final

#: Significant digits that distinguish any two float64.
_MOST_DIGITS: Final = 17


def told_apart(value: float, *bounds: float, digits: int = 6) -> str:
    """`value` in a few significant digits, or in as many as distinguish it from each of `bounds`.

    A message about a value beyond a bound must not show the same number twice: with the bound 1, the value
    1.0000001 is `1.0000001` and 1.5 is `1.5`.

    Args:
        value: Any number, NaN and infinity included.
        bounds: Other numbers in the message.
        digits: Minimum number of significant digits, without trailing zeros.
    """
    text = f"{value:.{digits}g}"
    while digits < _MOST_DIGITS and any(float(text) == bound != value for bound in bounds):
        digits += 1
        text = f"{value:.{digits}g}"
    return text
