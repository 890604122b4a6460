"""Aliases of one model: movable names for versions, and the earlier target of each.

Knows the content of `aliases.json` and the rules for moving an alias. Knows nothing of directories, locks or
the replacement of the file. A table is a value: moving an alias returns another table.

An alias may split: most requests go to its version, and a share of them to a second one, its canary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from model_store.errors import CorruptAliases, ModelNotFound, defect, quoted
from model_store.name_types import AliasName, VersionNumber
from model_store.strict_json import parse_object
from model_store.strict_model import StrictModel
from model_store.validation_messages import findings_in_one_line, of_a_later_contract

ALIASES_FILE = "aliases.json"
#: The highest version of a model; every publication moves it, and no command does.
LATEST = "latest"
#: The meaning of a bare name, if this alias is set.
STABLE = "stable"
#: The highest schema version of `aliases.json`. A table without a split has version 1, as ever, and earlier
#: releases read it.
ALIASES_SCHEMA_VERSION = 2
_WITHOUT_SPLITS, _WITH_SPLITS = 1, 2
#: Number of earlier targets that an alias remembers: enough for several rollbacks, and bounded.
MAX_HISTORY = 16

_REMEDY = (
    "Move the file away, then set the aliases again with 'vae-store promote'; versions themselves are "
    "intact and available as name@number."
)


class Canary(StrictModel):
    """The second version of an alias that splits."""

    version: VersionNumber
    percent: Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]
    """Its share of the requests; the version of the alias has the rest."""


class AliasEntry(StrictModel):
    """The present target of one alias, and its earlier targets."""

    version: VersionNumber
    history: Annotated[tuple[VersionNumber, ...], Field(max_length=MAX_HISTORY)] = ()
    """Earlier targets, the most recent last."""
    canary: Canary | None = None
    """The second version, while the alias splits."""

    @model_validator(mode="after")
    def _are_two_versions(self) -> Self:
        if self.canary is not None and self.canary.version == self.version:
            raise ValueError(f"the canary of an alias is another version than its own, {self.version}")
        return self

    @property
    def shares(self) -> dict[int, float]:
        """Percent of the requests by version: the alias's own first, then that of the canary."""
        if self.canary is None:
            return {self.version: 100.0}
        # A person writes at most three decimals; the difference of two floats has more.
        rest = round(100.0 - self.canary.percent, 6)
        return {self.version: rest, self.canary.version: self.canary.percent}

    @property
    def targets(self) -> tuple[int, ...]:
        """Every version that answers for the alias."""
        return tuple(self.shares)

    def without_canary(self) -> AliasEntry:
        """The entry with all requests on its version."""
        return AliasEntry(version=self.version, history=self.history)


class AliasTable(StrictModel):
    """The content of `aliases.json`."""

    schema_version: Annotated[int, Field(ge=1, le=ALIASES_SCHEMA_VERSION)] = ALIASES_SCHEMA_VERSION
    aliases: dict[AliasName, AliasEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_readable_by_its_readers(self) -> Self:
        """Readers that know only version 1 know no split."""
        if self.schema_version < _WITH_SPLITS and any(entry.canary for entry in self.aliases.values()):
            raise ValueError(f"an alias with a canary needs schema_version {_WITH_SPLITS}")
        return self

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
        ordered = self._with(dict(sorted(self.aliases.items())))
        return (ordered.model_dump_json(indent=2, exclude_none=True) + "\n").encode()

    def versions(self) -> dict[str, int]:
        """Alias to version, in alphabetical order, without canaries."""
        return {alias: entry.version for alias, entry in sorted(self.aliases.items())}

    def moved(self, alias: str, version: int) -> AliasTable:
        """The table with `alias` on `version` alone; the previous target is remembered."""
        before = self.aliases.get(alias)
        if before is None:
            entry = AliasEntry(version=version)
        elif before.version == version:
            entry = before.without_canary()
        else:
            history = (*before.history, before.version)[-MAX_HISTORY:]
            entry = AliasEntry(version=version, history=history)
        return self if entry == before else self._with({**self.aliases, alias: entry})

    def split(self, alias: str, shares: Mapping[int, float]) -> AliasTable:
        """The table with `alias` on two versions.

        The present version stays the alias's own if it is one of the two. Otherwise the alias moves to the
        first.

        Args:
            alias: The alias.
            shares: Percent of the requests by version, for two versions, together 100.
        """
        first, second = shares
        before = self.aliases.get(alias)
        own, other = (second, first) if before is not None and before.version == second else (first, second)
        entry = self.moved(alias, own).aliases[alias]
        canary = Canary(version=other, percent=shares[other])
        entry = AliasEntry(version=own, history=entry.history, canary=canary)
        return self if entry == before else self._with({**self.aliases, alias: entry})

    def adopting(self, entries: Mapping[str, AliasEntry]) -> AliasTable:
        """The table with these entries as well."""
        return self._with({**self.aliases, **entries})

    def with_latest(self, version: int) -> AliasTable:
        """The table with `latest` on `version`; it needs no history, because it is always the highest."""
        entry = AliasEntry(version=version)
        return self._with({**self.aliases, LATEST: entry})

    def with_highest(self, version: int) -> AliasTable:
        """The table with `latest` on the highest existing version.

        A higher number that was used before stays in the history of `latest`, so that no publisher uses it
        again.
        """
        used = max(self.highest(), version)
        entry = AliasEntry(version=version, history=(used,) if used > version else ())
        return self._with({**self.aliases, LATEST: entry})

    def without(self, version: int, remaining: Sequence[int]) -> AliasTable:
        """The table after the removal of a version: no alias points to it, and its number stays known.

        An alias whose canary it was has all requests on its own version.

        Args:
            version: The removed version.
            remaining: The other versions. Without any, `latest` keeps the number of the removed one.
        """
        kept = {
            name: entry.without_canary() if version in entry.targets else entry
            for name, entry in self.aliases.items()
            if entry.version != version
        }
        known = self.with_highest(max(remaining, default=max(self.highest(), version)))
        return self._with({**kept, LATEST: known.aliases[LATEST]})

    def rolled_back(self, alias: str, existing: frozenset[int], *, model: str) -> AliasTable:
        """The table with `alias` on its most recent earlier target that still exists.

        The previous target is not remembered, so that a second rollback goes further back. For an alias that
        splits, the split is what goes back: all requests go to its own version again.

        Raises:
            ModelNotFound: No such alias, or no earlier version that still exists.
        """
        entry = self.aliases.get(alias)
        if entry is None:
            raise ModelNotFound(
                f"'{model}' has no alias {quoted(alias)}; it has {', '.join(self.versions()) or 'none'}. "
                f"Set it with 'vae-store promote {model}@VERSION ALIAS'."
            )
        if entry.canary is not None:
            return self._with({**self.aliases, alias: entry.without_canary()})
        history = entry.history
        while history and (history[-1] not in existing or history[-1] == entry.version):
            history = history[:-1]
        if not history:
            raise ModelNotFound(
                f"'{model}@{alias}' points to version {entry.version} and has no earlier version that "
                f"exists. Choose the version with 'vae-store promote {model}@VERSION {alias}'."
            )
        before = AliasEntry(version=history[-1], history=history[:-1])
        return self._with({**self.aliases, alias: before})

    def protected(self) -> frozenset[int]:
        """Versions that may not be collected: the targets of every alias, and its target after a rollback."""
        back = {version for entry in self.aliases.values() for version in entry.history[-1:]}
        return frozenset(back | {version for entry in self.aliases.values() for version in entry.targets})

    def highest(self) -> int:
        """The highest version in the table's history, because numbers are never reused. 0 when empty."""
        known = (number for entry in self.aliases.values() for number in (*entry.targets, *entry.history))
        return max(known, default=0)

    def _with(self, aliases: Mapping[str, AliasEntry]) -> AliasTable:
        """A table of these aliases, with the lowest schema version that describes it."""
        splits = any(entry.canary is not None for entry in aliases.values())
        return AliasTable(schema_version=_WITH_SPLITS if splits else _WITHOUT_SPLITS, aliases=dict(aliases))
