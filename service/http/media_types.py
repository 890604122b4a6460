"""Lists, parameters and weights in headers, read leniently.

Knows the grammar of RFC 9110, sections 5.6 and 12.4.2, and how clients break it. Knows nothing of formats,
kinds of body or routes. Nothing here raises: an unreadable part is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)(?P<end>"?)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WEIGHT = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})")
#: Signs of the grammar; inside of a quoted string each is an ordinary character.
_SEPARATORS = {",": "\ue000", ";": "\ue001", "=": "\ue002"}
_HIDE = str.maketrans(_SEPARATORS)
_SHOW = str.maketrans({hidden: shown for shown, hidden in _SEPARATORS.items()})


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a list: a value, such as a media type, and its parameters, names in lower case."""

    value: str
    parameters: dict[str, str] = field(default_factory=dict)


def elements(header: str, *, most: int) -> list[Element]:
    """The first `most` elements of a comma-separated list; empty ones do not count.

    Args:
        header: The value of the header; several lines are joined by commas.
        most: Maximum number of elements to read.
    """
    found: list[Element] = []
    for text in _without_quotes(header).split(","):
        value, *parameters = text.split(";")
        if not text.strip():
            continue
        if len(found) == most:
            break
        found.append(Element(value.strip().translate(_SHOW), _parameters(parameters)))
    return found


def weight(parameters: dict[str, str]) -> float:
    """The parameter `q`, 0 … 1; 1 if it is missing or unreadable.

    A number without its leading zero (`.2`) is valid, and one out of range counts as the nearest bound.
    """
    text = parameters.get("q", "")
    return min(1.0, max(0.0, float(text))) if _WEIGHT.fullmatch(text) else 1.0


def _parameters(texts: list[str]) -> dict[str, str]:
    """Parameters by name, the first of each; an element without `=` is none."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if sign:
            found.setdefault(name.strip().lower(), value.strip().translate(_SHOW))
    return found


def _without_quotes(header: str) -> str:
    """Quoted strings without their quotation marks, their separators hidden.

    A string without an end is none: its separators separate.
    """
    if '"' not in header:
        return header

    def plain(match: re.Match[str]) -> str:
        text = _ESCAPED.sub(r"\1", match[1])
        return text.translate(_HIDE) if match["end"] else text

    return _QUOTED.sub(plain, header)
