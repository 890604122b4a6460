"""A limit that is part of the interface, as an operation or the table of limits states it.

Knows words and numbers. Knows nothing of what enforces it.
"""

from __future__ import annotations

from dataclasses import dataclass

Number = int | float


@dataclass(frozen=True)
class FixedLimit:
    """A limit that no setting changes."""

    name: str
    value: Number
    unit: str
    of: str
    """The limited quantity."""
    beyond: str
    """The reaction beyond it."""
    codes: tuple[str, ...] = ()
    """Codes of the problems beyond it, all of one status."""
