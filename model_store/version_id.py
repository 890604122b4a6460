"""The identity of a published version: its name and its number. Knows nothing of stores or references."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class VersionId:
    """One published version, by its name and number."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
