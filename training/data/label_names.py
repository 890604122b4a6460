"""Names of classes as a published version can have them, whatever words the images came with.

Knows the contract's rule for a label. Knows nothing of images, files or of where the words came from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from model_store.manifest import MAX_LABEL_CHARACTERS, Label

_LABEL = TypeAdapter(Label)
_UNNAMED = "unnamed"
#: Of a name that is too long: names often differ at their end.
_KEPT_AT_END = 20
_TOLD = 3


def publishable_names(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for classes, and notes for people about those that had to be changed.

    A word that the contract takes is kept. In others, bytes that were not UTF-8 are read as Latin-1, control
    characters become spaces, spaces at the ends are dropped, and the middle of a long one is left out.
    No two names are equal.

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
    # Escaped, because a word may not be printable, and in quotes, because it may be empty.
    changed = [f"{_shortened(word)!a} became {name}" for word, name in names.items() if word not in kept]
    if not changed:
        return tuple(names.values()), ()
    more = f" and {len(changed) - _TOLD:,} more" if len(changed) > _TOLD else ""
    told = ", ".join(changed[:_TOLD]) + more
    note = f"names of classes were changed, as a published version cannot have them: {told}"
    return tuple(names.values()), (note,)


def _is_label(word: str) -> bool:
    try:
        _LABEL.validate_python(word)
    except ValidationError:
        return False
    return True


def _cleaned(word: str) -> str:
    # What Python makes of a byte in a file name that is not UTF-8: U+DC80 to U+DCFF.
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
