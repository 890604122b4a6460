"""Markdown as these pages use it: fenced blocks, headings with their anchors, links.

Knows text. Knows nothing of what a block or a link means.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from patience import PATIENCE_S

REPOSITORY: Final = Path(__file__).resolve().parents[3]
_FENCE: Final = re.compile(
    r"^(?P<indent> {0,3})```(?P<info>[^\n`]*)\n(?P<text>.*?)^ {0,3}```$", re.MULTILINE | re.DOTALL
)
_HEADING: Final = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
#: `[text](target)` inside of code, where it is no link.
_CODE_WITH_LINK: Final = re.compile(r"`[^`\n]*\]\([^`\n]*`")


@dataclass(frozen=True)
class Fence:
    """A fenced block."""

    language: str
    note: str
    """The rest of the line that opens it."""
    text: str
    line: int
    """Number of its first line of content, counted from 1."""

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block: comments dropped, continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        bare = (re.sub(r"\s+#\s.*$", "", line).strip() for line in lines)
        return [line for line in bare if line and not line.startswith("#")]


@dataclass(frozen=True)
class Link:
    """A link or a picture."""

    text: str
    target: str
    line: int


def pages() -> list[Path]:
    """Every Markdown file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout.decode()
    return sorted(path for name in set(listed.split("\0")) if name and (path := REPOSITORY / name).is_file())


def name_of(page: Path) -> str:
    """`docs/README.md`: how messages and tables of tests name a page."""
    return page.relative_to(REPOSITORY).as_posix()


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, note = match["info"].strip().partition(" ")
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Fence(language, note.strip(), "".join(lines), line))
    return found


def prose(text: str) -> str:
    """The page without its blocks, whose lines stay as empty ones."""
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, made as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(prose(text)):
        shown = _LINK.sub(r"\g<text>", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> Iterator[Link]:
    """The links and pictures of a page.

    Raises:
        ValueError: Something looks like a link and cannot be read as one.
    """
    for number, line in enumerate(prose(text).splitlines(), 1):
        plain = _CODE_WITH_LINK.sub("", line)
        found = list(_LINK.finditer(plain))
        if plain.count("](") != len(found):
            raise ValueError(f"line {number}: expected each `](` to belong to a link, got: {line[:200]}")
        yield from (Link(match["text"], match["target"], number) for match in found)
