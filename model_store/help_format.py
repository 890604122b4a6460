"""The layout of `--help`, the same in all three programs: every line fits the terminal.

Knows argparse and the width of lines. Knows nothing of any command. argparse itself wraps the help of an
argument, and leaves descriptions and epilogs as they are.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import Final

#: A list item: its indent, and a first column that two spaces end.
_ITEM: Final = re.compile(r" +(?:\S+(?: \S+)*? {2,})?")


class Help(argparse.RawDescriptionHelpFormatter):
    """Wraps every line of a description or epilog by itself; an indented line keeps its indent.

    `  65  the store is corrupt` is a list item: its further lines begin under `the`. A line that begins with
    `$ ` after its indent is a command, and is never broken.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # argparse's extension point
        return "\n".join(indent + _wrapped(line, width - len(indent)) for line in text.splitlines())

    def _split_lines(self, text: str, width: int) -> list[str]:  # as above
        """Lines of an argument's help. Flags and names stay whole."""
        lines = []
        for paragraph in text.split("\n"):
            lines += textwrap.wrap(paragraph, width, break_on_hyphens=False, break_long_words=False)
        return lines


def _wrapped(line: str, width: int) -> str:
    item = _ITEM.match(line)
    start = item.group() if item else ""
    if line.lstrip().startswith("$ "):
        return line
    return "\n".join(
        textwrap.wrap(
            line[len(start) :],
            width,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_on_hyphens=False,
            break_long_words=False,
        )
    )
