"""Class names in the form that a published version requires, made from any words.

Knows the contract's rule for a label. Knows nothing of images, files or the origin of the words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from model_store.manifest import MAX_LABEL_CHARACTERS, Label

_LABEL = TypeAdapter(Label)
_UNNAMED = "unnamed"
#: Characters kept at the end of a long name, because names often differ at their end.
_KEPT_AT_END = 20
_TOLD = 3


def publishable_names(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for classes, and notes for people about changed names.

    A valid word is kept. In other words, bytes that were not UTF-8 are read as Latin-1, control characters
    become spaces, spaces at the ends are dropped, and a long name loses its middle. No two names are equal.

    Args:
        words: Distinct.

    Returns:
        (name of each word, notes).
    """
    kept = {word for word in words if _is_label(word)}
    names: dict[str, str] = {}
    for word in words:
        name = word if word in kept else _distinct(_cleaned(word), kept | set(names.values()))
        names[word] = name
    # Escaped, because a word may be unprintable, and in quotes, because it may be empty.
    changed = [f"{_shortened(word)!a} became {name}" for word, name in names.items() if word not in kept]
    if not changed:
        return tuple(names.values()), ()
    more = f" and {len(changed) - _TOLD:,} more" if len(changed) > _TOLD else ""
    told = ", ".join(changed[:_TOLD]) + more
    note = f"names of classes were changed, because a published version cannot contain them: {told}"
    return tuple(names.values()), (note,)


def _is_label(word: str) -> bool:
    try:
        _LABEL.validate_python(word)
    except ValidationError:
        return False
    return True


def _cleaned(word: str) -> str:
    # Python's replacement for a byte in a file name that is not UTF-8: U+DC80 to U+DCFF.
    decoded = re.sub("[\udc80-\udcff]", lambda found: chr(ord(found[0]) - 0xDC00), word)
    decoded = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", decoded)
    name = re.sub("[\x00-\x1f\x7f-\x9f]+", " ", decoded).strip(" \xa0")
    return _shortened(name) or _UNNAMED


def _shortened(name: str, room: int = MAX_LABEL_CHARACTERS) -> str:
    if len(name) <= room:
        return name
    return f"{name[: room - _KEPT_AT_END - 1]}…{name[-_KEPT_AT_END:]}"


def _distinct(name: str, taken: set[str]) -> str:
    number, distinct = 1, name
    while distinct in taken:
        number += 1
        ending = f" ({number})"
        distinct = _shortened(name, MAX_LABEL_CHARACTERS - len(ending)) + ending
    return distinct
