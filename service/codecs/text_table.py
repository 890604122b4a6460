"""Figures as a table, for terminals.

Knows names and numbers. Knows nothing of models or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GAP = "  "


def table(columns: Mapping[str, NDArray[np.floating[Any] | np.bool_]], *, of: str) -> str:
    """A line for each row under a line of names, the row's number first.

    Args:
        columns: Equally long arrays of numbers, or of booleans, by name, at least one.
        of: The name of a row, such as `image`.

    Returns:
        Lines joined by newlines, none at the end; numbers have three decimals and stand under one another.
    """
    cells = [[of, *columns]]
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        cells.append([str(number), *(map(_cell, row))])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        _GAP.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells
    )


def _cell(value: Any) -> str:
    if isinstance(value, np.bool_):
        return "yes" if value else "no"
    return f"{value:.3f}"
