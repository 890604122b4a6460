"""A store that reads like another, except for aliases that its user replaces.

Knows aliases and how a reference is resolved. Knows nothing of who replaces them. No file changes: several
deployments may read one store, and each decides which versions its aliases mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from model_store.aliases import LATEST, AliasEntry
from model_store.directory import read_aliases, version_numbers
from model_store.integrity import OpenDirectory
from model_store.reference import ModelReference
from model_store.store import ModelStore
from model_store.version_id import VersionId

#: Alias to version, by name of the model.
Pins = Mapping[str, Mapping[str, int]]


class PinnedStore(ModelStore):
    """A store with the aliases in `pins` instead of its own."""

    def __init__(self, origin: ModelStore) -> None:
        """`origin` is the store to read."""
        super().__init__(origin.root, limits=origin.limits)
        self._origin = origin
        self.pins: Pins = MappingProxyType({})
        """Replaced as a whole, by any thread. A name or version in it need not exist."""

    @property
    def root(self) -> Path:
        """The directory of the store at this moment."""
        return self._origin.root

    def single_model(self) -> str | None:
        """As of the store to read."""
        return self._origin.single_model()

    def path_of(self, identity: VersionId) -> Path:
        """As of the store to read."""
        return self._origin.path_of(identity)

    def alias_entries(self, name: str) -> Mapping[str, AliasEntry]:
        """Each alias with its targets; one that is pinned has one version, which may be missing."""
        pins = {alias: AliasEntry(version=version) for alias, version in self.pins.get(name, {}).items()}
        return dict(sorted({**super().alias_entries(name), **pins}.items()))

    def _root(self) -> OpenDirectory:
        return self._origin._root()

    def _number(
        self, model: OpenDirectory, asked: ModelReference, aliases: Mapping[str, int] | None = None
    ) -> int:
        pins = self.pins.get(asked.name)
        if aliases is None and asked.version is None and pins:
            numbers = version_numbers(model)
            latest = {LATEST: numbers[-1]} if numbers else {}
            aliases = {**read_aliases(model, self.limits).versions(), **latest, **pins}
        return super()._number(model, asked, aliases)
