"""Pydantic's findings about an invalid document, file or setting, and sentences about them.

Knows pydantic's error records and schema versions. Knows nothing of the meaning of the documents: a caller
that knows the source of a value or the nearest valid key writes its own sentence from a `Finding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from model_store.errors import defect, quoted

#: Maximum number of findings in a message. A message that leaves some out states how many.
MAX_FINDINGS = 10
_MAX_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class Finding:
    """One value that pydantic rejected."""

    location: tuple[str | int, ...]
    """The keys and indices that lead to the value; empty for the whole document."""
    kind: str
    """Pydantic's name of the rule, such as `missing` or `extra_forbidden`."""
    message: str
    """Pydantic's own words, such as `Input should be a valid integer`."""
    value: object
    """The rejected value. The caller decides whether it is safe to show."""

    @property
    def field(self) -> str:
        """The field of the outermost model, or empty text for the whole document."""
        return str(self.location[0]) if self.location else ""

    @property
    def key(self) -> str:
        """The keys and indices, joined by dots, or empty text for the whole document."""
        return ".".join(map(str, self.location))

    @property
    def expected(self) -> str:
        """The valid values in words, such as `integer` or `less than or equal to 8`."""
        return self.message.removeprefix("Input should be ").removeprefix("a valid ")

    @property
    def own_words(self) -> str:
        """The sentence of a validator of this project, without pydantic's prefix."""
        return self.message.removeprefix("Value error, ")


def findings_of(error: ValidationError) -> tuple[Finding, ...]:
    """Every value that pydantic rejected, in its order."""
    return tuple(
        Finding(item["loc"], item["type"], item["msg"], item["input"])
        for item in error.errors(include_url=False, include_context=False)
    )


def findings_in_one_line(error: ValidationError) -> str:
    """The keys that pydantic rejected and the reasons, at most ten of them, without their values."""
    found = findings_of(error)
    shown = [
        f"{quoted(finding.key or 'the whole')}: {finding.message[:_MAX_MESSAGE_CHARACTERS]}"
        for finding in found[:MAX_FINDINGS]
    ]
    more = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def reason_of(error: Exception) -> str:
    """Why a document could not be read: pydantic's findings in one line, or any other error cut to fit."""
    if isinstance(error, ValidationError):
        return findings_in_one_line(error)
    return str(error)[:_MAX_MESSAGE_CHARACTERS]


def of_a_later_contract(stated: Mapping[str, Any], *, where: str, known: int) -> str | None:
    """A message about a file with a higher schema version than `known`; None for any other.

    Such a file must not pass for a damaged one, which an operator would remove.
    """
    version = stated.get("schema_version")
    if type(version) is not int or version <= known:
        return None
    return defect(
        where,
        expected=f"schema_version {known}" if known == 1 else f"schema_version 1 to {known}",
        got=quoted(str(version)),
        remedy=(
            "A newer release of vae-service wrote it, and it shows no damage: keep it, and read it "
            "with that release."
        ),
    )
