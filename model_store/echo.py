"""Short values in error messages: a name or number that came in, and the known name nearest to it.

Knows characters, lengths and similarity. Knows nothing of the origin of a value: the caller decides whether
it is safe to show. Bodies, keys and pixels are not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Longer text is cut: a name fits, a body does not.
MAX_ECHO_CHARACTERS = 40
#: Longer names are not compared: the comparison takes time in proportion to the product of both lengths.
_MAX_COMPARED_CHARACTERS = 64


def echo(value: object) -> str:
    """A text, number, boolean or None between backticks: escaped, and cut to `MAX_ECHO_CHARACTERS`.

    Characters that do not print and backticks become escapes, so that the result is one line and its end is
    clear. Any other value is named by its type alone.
    """
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower() if value is not None else 'null'}`"
    if isinstance(value, int | float):
        # A whole number of many digits is slow to print, and Python refuses from 4,300 on.
        return (
            f"`{_cut(repr(value))}`" if abs(value) < 1e40 or isinstance(value, float) else "a longer number"
        )
    if isinstance(value, str):
        return f"`{_cut(value)}`"
    return f"a value of type {type(value).__name__}"


def did_you_mean(name: str, known: Iterable[str], *, similarity: float = 0.4) -> str:
    """`Did you mean `quick`?` with the nearest known name; empty text if none is near enough.

    Args:
        name: The name that came.
        known: The names that exist.
        similarity: Smallest ratio of `difflib` that counts as near, between 0 and 1.
    """
    if len(name) > _MAX_COMPARED_CHARACTERS:
        return ""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=similarity)
    return f"Did you mean `{nearest[0]}`?" if nearest else ""


def listed(names: Iterable[str], *, most: int) -> str:
    """`a, b, c and 7 more`: the first `most` names, and the number of those left out."""
    every = list(names)
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def _cut(text: str) -> str:
    short = "".join(_escaped(character) for character in text[: MAX_ECHO_CHARACTERS + 1])
    return short if len(short) <= MAX_ECHO_CHARACTERS else short[:MAX_ECHO_CHARACTERS] + "…"


def _escaped(character: str) -> str:
    if character.isprintable() and character != "`":
        return character
    return character.encode("unicode_escape").decode("ascii") if character != "`" else "\\x60"
