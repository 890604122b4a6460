"""Facts and tables as text: for a terminal of some width, or of any length for a pipe.

Knows columns and line breaks. Knows nothing of their content.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

#: A column is not wrapped to fewer characters: then its text gets lines of its own.
_NARROWEST: Final = 40
_INDENT: Final = "    "
_GAP: Final = 2


def terminal_width() -> int | None:
    """Characters in a line of standard output; None unless it is a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def facts(pairs: Sequence[tuple[str, str]], *, width: int | None = None) -> str:
    """Names and values, one below the other.

    Args:
        pairs: Names and values.
        width: Long values are continued below their beginning, in lines of this length; None: in one line.
    """
    names = max(len(name) for name, _ in pairs)
    return "\n".join(_line([name, value], [names, len(value)], width) for name, value in pairs)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Columns under their names, each as wide as its widest cell, without truncation.

    Args:
        columns: Names of the columns.
        rows: A cell for each column.
        width: Long cells of the last column are continued in lines of this length: below their beginning,
            or below the row if few characters are left. None: in one line.
    """
    lines = [[column.upper() for column in columns], *map(list, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(_line(line, widths, width) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], width: int | None) -> str:
    *first, last = cells
    start = "".join(cell.ljust(size + _GAP) for cell, size in zip(first, widths[:-1], strict=True))
    if width is None or len(start) + len(last) <= width:
        return (start + last).rstrip()
    below = " " * len(start)
    if width - len(start) < _NARROWEST:
        start, below = f"{start.rstrip()}\n{_INDENT}", _INDENT
    # A long word stays whole, so that it can be copied.
    parts = textwrap.wrap(last, width - len(below), break_long_words=False, break_on_hyphens=False)
    return start + f"\n{below}".join(parts)
