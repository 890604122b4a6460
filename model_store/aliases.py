"""Aliases of one model: movable names for versions, and the earlier target of each.

Knows the content of `aliases.json` and the rules for moving an alias. Knows nothing of directories, locks or
the replacement of the file. A table is a value: moving an alias returns another table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from model_store.errors import CorruptAliases, ModelNotFound, defect, quoted
from model_store.manifest import AliasName, VersionNumber
from model_store.strict_json import parse_object
from model_store.strict_model import StrictModel
from model_store.validation_messages import findings_in_one_line, of_a_later_contract

ALIASES_FILE = "aliases.json"
#: The highest version of a model; every publication moves it, and no command does.
LATEST = "latest"
#: The meaning of a bare name, if this alias is set.
STABLE = "stable"
#: Schema version of `aliases.json`, unchanged since the first contract.
ALIASES_SCHEMA_VERSION = 1
#: Number of earlier targets that an alias remembers: enough for several rollbacks, and bounded.
MAX_HISTORY = 16

_REMEDY = (
    "Move the file away, then set the aliases again with 'vae-store promote'; versions themselves are "
    "intact and available as name@number."
)


class AliasEntry(StrictModel):
    """The present target of one alias, and its earlier targets."""

    version: VersionNumber
    history: Annotated[tuple[VersionNumber, ...], Field(max_length=MAX_HISTORY)] = ()
    """Earlier targets, the most recent last."""


class AliasTable(StrictModel):
    """The content of `aliases.json`."""

    schema_version: Annotated[int, Field(ge=1, le=ALIASES_SCHEMA_VERSION)] = ALIASES_SCHEMA_VERSION
    aliases: dict[AliasName, AliasEntry] = Field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> AliasTable:
        """Read the file strictly.

        Raises:
            CorruptAliases: Not UTF-8, not JSON, or not such a table.
        """
        try:
            stated = parse_object(data)
            if newer := of_a_later_contract(stated, where=where, known=ALIASES_SCHEMA_VERSION):
                raise CorruptAliases(newer)
            if missing := sorted(set(cls.model_fields) - set(stated)):
                raise ValueError(f"it lacks {missing}")
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise CorruptAliases(
                defect(
                    where,
                    expected="aliases as SPEC.md defines them",
                    got=findings_in_one_line(error),
                    remedy=_REMEDY,
                )
            ) from error
        except (ValueError, RecursionError) as error:
            raise CorruptAliases(
                defect(where, expected="unambiguous UTF-8 JSON", got=quoted(str(error)), remedy=_REMEDY)
            ) from error

    def to_bytes(self) -> bytes:
        """The file, with aliases in alphabetical order: equal tables yield equal bytes."""
        ordered = self.model_copy(update={"aliases": dict(sorted(self.aliases.items()))})
        return (ordered.model_dump_json(indent=2) + "\n").encode()

    def versions(self) -> dict[str, int]:
        """Alias to version, in alphabetical order."""
        return {alias: entry.version for alias, entry in sorted(self.aliases.items())}

    def moved(self, alias: str, version: int) -> AliasTable:
        """The table with `alias` on `version`; the previous target is remembered."""
        before = self.aliases.get(alias)
        if before is None:
            entry = AliasEntry(version=version)
        elif before.version == version:
            return self
        else:
            history = (*before.history, before.version)[-MAX_HISTORY:]
            entry = AliasEntry(version=version, history=history)
        return self.model_copy(update={"aliases": {**self.aliases, alias: entry}})

    def with_latest(self, version: int) -> AliasTable:
        """The table with `latest` on `version`; it needs no history, because it is always the highest."""
        entry = AliasEntry(version=version)
        return self.model_copy(update={"aliases": {**self.aliases, LATEST: entry}})

    def with_highest(self, version: int) -> AliasTable:
        """The table with `latest` on the highest existing version.

        A higher number that was used before stays in the history of `latest`, so that no publisher uses it
        again.
        """
        used = max(self.highest(), version)
        entry = AliasEntry(version=version, history=(used,) if used > version else ())
        return self.model_copy(update={"aliases": {**self.aliases, LATEST: entry}})

    def without(self, version: int, remaining: Sequence[int]) -> AliasTable:
        """The table after the removal of a version: no alias points to it, and its number stays known.

        Args:
            version: The removed version.
            remaining: The other versions. Without any, `latest` keeps the number of the removed one.
        """
        kept = {name: entry for name, entry in self.aliases.items() if entry.version != version}
        known = self.with_highest(max(remaining, default=max(self.highest(), version)))
        return known.model_copy(update={"aliases": {**kept, LATEST: known.aliases[LATEST]}})

    def rolled_back(self, alias: str, existing: frozenset[int], *, model: str) -> AliasTable:
        """The table with `alias` on its most recent earlier target that still exists.

        The previous target is not remembered, so that a second rollback goes further back.

        Raises:
            ModelNotFound: No such alias, or no earlier version that still exists.
        """
        entry = self.aliases.get(alias)
        if entry is None:
            raise ModelNotFound(
                f"'{model}' has no alias {quoted(alias)}; it has {', '.join(self.versions()) or 'none'}. "
                f"Set it with 'vae-store promote {model}@VERSION ALIAS'."
            )
        history = entry.history
        while history and (history[-1] not in existing or history[-1] == entry.version):
            history = history[:-1]
        if not history:
            raise ModelNotFound(
                f"'{model}@{alias}' points to version {entry.version} and has no earlier version that "
                f"exists. Choose the version with 'vae-store promote {model}@VERSION {alias}'."
            )
        before = AliasEntry(version=history[-1], history=history[:-1])
        return self.model_copy(update={"aliases": {**self.aliases, alias: before}})

    def protected(self) -> frozenset[int]:
        """Versions that may not be collected: the target of every alias, and its target after a rollback."""
        back = {version for entry in self.aliases.values() for version in entry.history[-1:]}
        return frozenset(back | {entry.version for entry in self.aliases.values()})

    def highest(self) -> int:
        """The highest version in the table's history, because numbers are never reused. 0 when empty."""
        known = (number for entry in self.aliases.values() for number in (entry.version, *entry.history))
        return max(known, default=0)
