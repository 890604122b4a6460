"""JSON in lines that a person can compare, without the change of a token.

Knows JSON's grammar. Knows nothing of what it says. Numbers are never parsed: `1.0`, `1` and `1e0` stay as
they were sent, and so does the order of keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

#: Longest line, beyond which a list or an object is broken into several.
_WIDTH = 100
#: Most lines of an array of numbers that are shown.
_MOST_LINES = 6
#: Characters of an object that is not shown twice.
_NOT_TWICE = 150
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\s+', re.DOTALL)

Node = str | tuple[str, list["Node"]]


def lines_of(text: str, *, whole: bool = False) -> list[str] | None:
    """The lines of compact JSON; None if `text` is no JSON, or has white space between its tokens.

    Args:
        text: The whole of it.
        whole: Show all. Otherwise a long array of numbers is shown by its beginning and the digest of all of
            it, and an object that came before by its beginning and its digest.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text or any(token.isspace() for token in tokens):
        return None
    stream = iter(tokens)
    try:
        tree = _read(stream, next(stream))
    except (StopIteration, ValueError):
        return None
    if next(stream, None) is not None:
        return None
    return list(_lines(tree, "", None if whole else set()))


def _read(stream: Iterator[str], token: str) -> Node:
    if token not in "{[":
        if token in "}],:":
            raise ValueError(token)
        return token
    end = "}" if token == "{" else "]"
    children: list[Node] = []
    token_of_child = next(stream)
    if token_of_child == end:
        return token + end
    while True:
        child = _read(stream, token_of_child)
        if end == "}":
            if not isinstance(child, str) or next(stream) != ":":
                raise ValueError("no key")
            child = (child + ": ", [_read(stream, next(stream))])
        children.append(child)
        after = next(stream)
        if after == end:
            return (token, children)
        if after != ",":
            raise ValueError(after)
        token_of_child = next(stream)


def _lines(
    node: Node, indent: str, told: set[str] | None, before: str = "", after: str = ""
) -> Iterator[str]:
    flat = _flat(node)
    if len(indent) + len(before) + len(flat) + len(after) <= _WIDTH or isinstance(node, str):
        yield f"{indent}{before}{flat}{after}"
        return
    head, children = node
    if head not in "{[":  # a key and its value
        yield from _lines(children[0], indent, told, before + head, after)
    elif _is_array(node):
        lines = list(_filled(_pieces(node), indent, before, after))
        is_long = told is not None and len(lines) > _MOST_LINES and '"' not in flat
        yield from lines[: _MOST_LINES // 2] if is_long else lines
        if is_long:
            yield f"{indent}… ({len(lines)} lines, {_digest(flat)}){after}"
    elif told is not None and len(flat) > _NOT_TWICE and flat in told:
        yield f"{indent}{before}{flat[:40]}… (as above, {_digest(flat)}){after}"
    else:
        if told is not None:
            told.add(flat)
        yield f"{indent}{before}{head}"
        for at, child in enumerate(children, start=1):
            yield from _lines(child, indent + " ", told, after="," if at < len(children) else "")
        yield f"{indent}{'}' if head == '{' else ']'}{after}"


def _digest(text: str) -> str:
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _is_array(node: Node) -> bool:
    """Whether it is a list of scalars, or of such lists."""
    if isinstance(node, str):
        return True
    head, children = node
    return head == "[" and all(map(_is_array, children))


def _flat(node: Node) -> str:
    if isinstance(node, str):
        return node
    head, children = node
    text = ", ".join(map(_flat, children))
    return f"{head}{text}" + {"{": "}", "[": "]"}.get(head, "")


def _pieces(node: Node) -> list[str]:
    """Short lists of scalars whole, and the scalars of long ones, with the brackets around them."""
    if isinstance(node, str):
        return [node]
    _, children = node
    if len(_flat(node)) <= _WIDTH and all(isinstance(child, str) for child in children):
        return [_flat(node)]
    pieces: list[str] = []
    for at, child in enumerate(children, start=1):
        pieces += _pieces(child)
        pieces[-1] += "," if at < len(children) else ""
    pieces[0] = "[" + pieces[0]
    pieces[-1] += "]"
    return pieces


def _filled(pieces: list[str], indent: str, before: str, after: str) -> Iterator[str]:
    """As many pieces in a line as fit."""
    pieces[-1] += after
    line = before.rstrip()
    for piece in pieces:
        if line and len(indent) + len(line) + 1 + len(piece) > _WIDTH:
            yield indent + line
            line = piece
        else:
            line = f"{line} {piece}".lstrip()
    yield indent + line
