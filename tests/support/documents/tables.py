"""Markdown tables. Knows rows of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a bar escaped in each cell; empty when there are no rows."""
    lines = [" | ".join(_cell(cell) for cell in row) for row in rows]
    if not lines:
        return ""
    above = [" | ".join(head), " | ".join("---" for _ in head)]
    return "".join(f"| {line} |\n" for line in (*above, *lines))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
