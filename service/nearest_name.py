"""The name that a misspelt one was meant to be.

Knows words. Knows nothing of what they name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Share of letters in common from which two names are near.
_NEAR = 0.4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean X?`, of the known name most like this one; empty where none is near."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=_NEAR)
    return f"Did you mean {nearest[0]}?" if nearest else ""
