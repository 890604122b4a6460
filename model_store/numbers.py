"""Numbers in messages. Knows digits; knows nothing of what is counted or measured."""

from __future__ import annotations

from typing import Final

#: Significant digits that tell any two float64 apart.
_MOST_DIGITS: Final = 17


def told_apart(value: float, *bounds: float, digits: int = 6) -> str:
    """`value` in a few significant digits, and in as many more as tell it from each of `bounds`.

    A message that names a bound and a value beyond it must not show the same number twice: with the bound 1,
    the value 1.0000001 is `1.0000001` and 1.5 is `1.5`.

    Args:
        value: Any number, NaN and infinity included.
        bounds: Numbers that the message names.
        digits: Significant digits that are shown in any case, trailing zeros left out.
    """
    text = f"{value:.{digits}g}"
    while digits < _MOST_DIGITS and any(float(text) == bound != value for bound in bounds):
        digits += 1
        text = f"{value:.{digits}g}"
    return text
