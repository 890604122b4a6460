"""Counts turns of phrase that a reader stumbles over, in the texts of source files and Markdown.

Knows docstrings, comments, string messages, Markdown and regular expressions. Knows nothing of bars or
packages.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

#: Shorter strings are names, keys and units, not sentences.
_MIN_WORDS_OF_A_MESSAGE = 4
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`")
_LINK = re.compile(r"\]\([^)\s]*\)|https?://\S+")
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
#: A sentence ends at a full stop, a colon or a semicolon, at an empty line, and at a cell of a table.
_END = re.compile(r"(?<=[.!?:;])[\s\"')*]+|\n\s*\n|\s*\|\s*|\n\s*[-*] ")
_QUESTION = re.compile(r"\?\s*$")
#: The name of an argument in a docstring.
_ARGUMENT = re.compile(r"[a-z_]+:")

#: Pattern → what matches it. `^` is the start of a sentence.
PATTERNS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        # What is beyond a limit is told by its name.
        "what-subject": re.compile(r"^(?:(?:and|but|or|so) )?what\b(?! to )", re.IGNORECASE),
        # GET /limits tells the time limit.
        "tell": re.compile(r"\b(?:tell|tells|told|telling)\b", re.IGNORECASE),
        # Nobody waits for it any more.
        "nobody": re.compile(r"\b(?:nobody|somebody|anybody|everybody)\b", re.IGNORECASE),
        # The draws beside the truth.
        "beside": re.compile(r"(?<!\.)\bbeside\b", re.IGNORECASE),
        # Whoever waits for a model run.
        "whoever": re.compile(r"\b(?:whoever|whatever|whichever|wherever)\b", re.IGNORECASE),
        # Of a longer address the rest is dropped.
        "inversion": re.compile(
            r"^(?:of|beyond|among|nor|neither) "
            r"(?:a|an|the|that|those|these|this|several|each|all|two|which|what)\b",
            re.IGNORECASE,
        ),
        # The fault lies in the file.
        "lies": re.compile(r"\b(?:lies|lie|lay|lying)\b", re.IGNORECASE),
        # An image that was given back.
        "given": re.compile(r"\b(?:is|are|was|were|be|been) given\b|\bgives? back\b", re.IGNORECASE),
        # The setting says how long.
        "says": re.compile(r"\b(?:says|said)\b", re.IGNORECASE),
        # Knows nothing of what is done with them.
        "of-what": re.compile(r"\b(?:(?:of|from|by|with|to|on) (?:what|whom)|of which)\b", re.IGNORECASE),
    }
)


@dataclass(frozen=True)
class Finding:
    """One place: the line of the text it is in, the pattern's name and the sentence."""

    line: int
    pattern: str
    sentence: str


@dataclass(frozen=True)
class Reading:
    """All that was found in one text, and its length."""

    words: int
    findings: tuple[Finding, ...]

    def counts(self) -> Counter[str]:
        """Findings of each pattern."""
        return Counter(finding.pattern for finding in self.findings)


def read_file(path: Path) -> Reading:
    """The words and findings of one `.py` or `.md` file."""
    source = path.read_text(encoding="utf-8")
    texts = python_texts(source) if path.suffix == ".py" else [(1, _FENCE.sub(_blank, source))]
    return read_texts(texts)


def read_texts(texts: Iterator[tuple[int, str]] | list[tuple[int, str]]) -> Reading:
    """The words and findings of texts, each with the line it starts in."""
    words, findings = 0, []
    for line, text in texts:
        clean = _LINK.sub("] ", _CODE.sub("X", text))
        words += len(_WORD.findall(clean))
        for offset, sentence in _sentences(clean):
            at = line + clean.count("\n", 0, offset)
            for name, pattern in PATTERNS.items():
                if (name == "what-subject" and _QUESTION.search(sentence)) or _ARGUMENT.fullmatch(sentence):
                    continue
                findings += [Finding(at, name, sentence) for _ in pattern.finditer(sentence)]
    return Reading(words, tuple(findings))


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings, comments and messages of a module, each with the line it starts in."""
    yield from _strings(ast.parse(source))
    yield from _comments(source)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match.group().count("\n")


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for end in [*(match for match in _END.finditer(text)), None]:
        stop = len(text) if end is None else end.start()
        piece = text[start:stop].lstrip(" \n\t*_#->(\"'[")
        if piece.strip():
            yield stop - len(piece), " ".join(piece.split())
        start = len(text) if end is None else end.end()


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings that read as sentences; the values in an f-string count as one word that matches nothing."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        text: str | None = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "X"
                for part in node.values
            )
            pending += [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        else:
            pending += ast.iter_child_nodes(node)
        if text is not None and (id(node) in docstrings or len(text.split()) >= _MIN_WORDS_OF_A_MESSAGE):
            assert isinstance(node, ast.expr)
            yield node.lineno, text


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments; lines below one another, with nothing but comments, are one text."""
    first, last, lines = 0, (-1, -1), list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row, column = token.start
        text = token.string.lstrip("#: ")
        alone = not token.line[:column].strip()
        if lines and alone and (row - 1, column) == last:
            lines.append(text)
        else:
            if lines:
                yield first, "\n".join(lines)
            first, lines = row, [text]
        last = (row, column if alone else -1)
    if lines:
        yield first, "\n".join(lines)
