"""What an import found: each check as JSON, and the error of a refused one.

Knows words. Knows nothing of graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from model_store.errors import StoreError

Result = Literal["ok", "warning"]


class ImportRefused(StoreError):
    """The graphs cannot be served as they are; nothing was published."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    result: Result
    detail: str


@dataclass(slots=True)
class Report:
    """The findings so far, in their order."""

    findings: list[Finding] = field(default_factory=list)

    def ok(self, check: str, detail: str) -> None:
        """A check that passed."""
        self.findings.append(Finding(check, "ok", detail))

    def warn(self, check: str, detail: str) -> None:
        """A check with a result that its user should read."""
        self.findings.append(Finding(check, "warning", detail))

    @property
    def document(self) -> list[dict[str, Any]]:
        """The findings as JSON."""
        return [{"check": f.check, "result": f.result, "detail": f.detail} for f in self.findings]


def refuse(check: str, *, expected: str, got: str, remedy: str) -> ImportRefused:
    """The error of a check that failed."""
    return ImportRefused(f"{check}: expected {expected}, got {got}. {remedy} Nothing was published.")
