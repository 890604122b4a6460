"""An alias that splits: which of its two versions answers a request.

Knows shares and hashes. Knows nothing of requests, stores or loaded models.

The hash of a key is a point in [0, 1), and the canary answers below its share. So one key always finds the
same version, in every process and on every machine. A larger share adds keys to the canary and takes none
away. The hash includes the name of the canary, so that each one meets other keys than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from model_store import VersionId

_POINTS: Final = 2**64


@dataclass(frozen=True)
class Canary:
    """The second version of an alias, and its share of the requests."""

    alias: str
    """`name@alias`."""
    version: VersionId
    percent: float
    """Above 0 and below 100."""

    def takes(self, key: str) -> bool:
        """Whether the canary answers a request with this key.

        Args:
            key: Identifies the client or the request; any text.
        """
        text = f"{self.alias}\0{self.version}\0{key}"
        point = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
        return point < self.percent / 100 * _POINTS


@dataclass(frozen=True)
class Split:
    """An alias for which two versions answer, for reports."""

    alias: str
    """`name@alias`."""
    own: str
    """Label of the alias's own version."""
    canary: str
    """Label of the other version."""
    percent: float
    """Share of the canary."""
