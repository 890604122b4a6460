"""Scripts and styles as they are sent: without comments and without spaces that mean nothing.

Knows the tokens of JavaScript and CSS. Knows no files and no requests. No name is changed and no module is
joined with another, so a browser's debugger still shows readable functions.

The scripts end every statement with a semicolon, as their formatter writes it, so an end of line never ends a
statement. TypeScript compares the syntax of each script with that of its source (tests/page/test_sources.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_COMMENT: Final = r"/\*.*?\*/|//[^\n]*"
_STRING: Final = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_REGULAR_EXPRESSION: Final = re.compile(r"/(?![/*])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
#: Part of a template literal: up to its end, or up to a value within it.
_TEMPLATE: Final = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)", re.DOTALL)
_TOKEN: Final = re.compile(rf"\s+|{_COMMENT}|{_STRING}|[\w$]+|.", re.DOTALL)
#: After one of these a slash divides.
_VALUE_ENDS: Final = re.compile(r"[\w$)\]}\"'`]$")
#: Side by side they would be one token.
_JOINED: Final = re.compile(r"[\w$]{2}|\+\+|--")
#: What the end of a list or block makes needless. No statement is empty, so none is lost.
_LAST: Final = {")": ",", "]": ",", "}": ",;"}

#: A comment is spelt out, so that no search for what follows takes it to a later end.
_STYLE_GAP: Final = r"(?:\s|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/)"
_STYLE_PART: Final = re.compile(
    rf"({_STRING})|{_STYLE_GAP}*([{{}};,>]){_STYLE_GAP}*|(:){_STYLE_GAP}+|({_STYLE_GAP}+)"
)


def bare_script(text: str) -> str:
    """A script with the same syntax and fewer characters.

    Args:
        text: A module whose statements end with semicolons.
    """
    kept: list[str] = []
    has_gap = False
    for part in _tokens(text):
        if part.isspace() or part.startswith(("//", "/*")):
            has_gap = True
            continue
        if kept and part in _LAST and kept[-1] in _LAST[part]:
            kept.pop()
        if kept and has_gap and _JOINED.fullmatch(kept[-1][-1] + part[0]):
            kept.append(" ")
        kept.append(part)
        has_gap = False
    return "".join(kept)


def bare_style(text: str) -> str:
    """A style sheet with the same rules and fewer characters."""

    def bare(found: re.Match[str]) -> str:
        string, sign, colon, space = found.groups()
        return string or sign or colon or (" " if space else "")

    return _STYLE_PART.sub(bare, text).replace(";}", "}").strip()


def _tokens(text: str) -> Iterator[str]:
    """Tokens, spaces and comments; a template literal is one for each part between its values."""
    at, last = 0, ""
    #: Open braces in each value of a template literal that the text is within.
    braces: list[int] = []
    while at < len(text):
        part = _token_at(text, at, last)
        if braces and part == "}" and braces[-1] == 0:
            braces.pop()
            part += _template_at(text, at + 1)
        elif braces and part in "{}":
            braces[-1] += 1 if part == "{" else -1
        elif part == "`":
            part += _template_at(text, at + 1)
        if part[-2:] == "${":
            braces.append(0)
        yield part
        at += len(part)
        if not part.isspace() and not part.startswith(("//", "/*")):
            last = part


def _token_at(text: str, at: int, last: str) -> str:
    found = None
    if text[at] == "/" and not _VALUE_ENDS.search(last):
        found = _REGULAR_EXPRESSION.match(text, at)
    found = found or _TOKEN.match(text, at)
    return found.group() if found else text[at:]


def _template_at(text: str, at: int) -> str:
    found = _TEMPLATE.match(text, at)
    return found.group() if found else text[at:]
