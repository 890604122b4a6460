"""The model store: `reading.py`, and publish, promote, roll back, add, remove, collect.

Knows models, versions and aliases below one directory, and the order of changes. Knows nothing of torch,
onnxruntime or HTTP.

    root/
      mnist/
        1/  encoder.onnx  decoder.onnx  manifest.json  golden.npz  MODEL_CARD.md  (prior.npz)  (preview.npz)
        1.sig    (a signature of version 1)
        2/  …
        aliases.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from model_store.aliases import ALIASES_FILE, LATEST, AliasEntry, AliasTable
from model_store.directory import read_aliases, stray_numbers, version_numbers
from model_store.durable_io import LOCK_FILE, lock, replace_file
from model_store.errors import VersionInUse
from model_store.garbage import (
    DEFAULT_OLDER_THAN_S,
    CollectionReport,
    CollectionRules,
    collect,
    remove_version,
)
from model_store.golden import GoldenVectors
from model_store.history import moves, recorded
from model_store.integrity import OpenDirectory
from model_store.learned_prior import LearnedPriorFiles
from model_store.manifest import Manifest, ManifestDraft
from model_store.placing import place
from model_store.preview import Preview
from model_store.prior import PriorMixtures
from model_store.publishing import check_candidate, publish
from model_store.reading import ReadableStore
from model_store.signature import signature_file
from model_store.store_messages import check_movable, listed, unknown_version
from model_store.version_id import VersionId


class ModelStore(ReadableStore):
    """All published models below `root`. An absent root is an empty store until the first publication."""

    @property
    def is_borrowed(self) -> bool:
        """Whether the first change copies the store to another place; see `DefaultStore`."""
        return False

    def publish(
        self,
        draft: ManifestDraft,
        *,
        encoder: bytes,
        decoder: bytes,
        golden: GoldenVectors,
        card: str | Callable[[Manifest], str],
        prior: PriorMixtures | None = None,
        preview: Preview | None = None,
        learned_prior: LearnedPriorFiles | None = None,
        aliases: Sequence[str] = (),
        source: str | None = None,
    ) -> VersionId:
        """Publish a version under the next number: completely or not at all, durable at the return.

        Args:
            draft: The manifest without the number and the digests.
            encoder: ONNX graph `x` → `mu`, `logvar`.
            decoder: ONNX graph `z` → `x_hat`.
            golden: Recorded inputs and outputs of both.
            card: `MODEL_CARD.md`, or a function that writes it for the numbered manifest.
            prior: The mixtures of the fitted or learned prior, if `draft` lists one.
            preview: The arrays of the preview, if `draft` lists one.
            learned_prior: The graphs of the learned prior, if `draft` lists one.
            aliases: Aliases to move to this version; `latest` moves by itself.
            source: For a version that another store published before: its origin, for the record.

        Raises:
            InvalidDraft: Some part may not be published; nothing was written.
            CorruptAliases, UnsafeFile: This model's `aliases.json` or directory must be repaired first.
            StoreWriteFailed: Disk full, read-only, input/output error; nothing was published unless the
                error's `published` names a version.
        """
        candidate = check_candidate(
            draft,
            encoder=encoder,
            decoder=decoder,
            golden=golden,
            prior=prior,
            preview=preview,
            learned_prior=learned_prior,
            card=card,
            aliases=aliases,
            limits=self.limits,
            source=source,
        )
        self._make_writable()
        return publish(self.root, candidate, self.limits)

    def promote(self, name: str, alias: str, version: int) -> VersionId:
        """Point an alias to a version after its verification; the previous target is remembered.

        A split of the alias ends.

        Raises:
            InvalidReference: Not an alias, or `latest`, which moves by itself.
            ModelNotFound: No such model or version.
            CorruptVersion: The version does not verify; the alias is unchanged.
            StoreWriteFailed: The alias could not be written; it is unchanged.
        """
        check_movable(alias)
        identity = VersionId(name, version)

        def move(_: OpenDirectory, table: AliasTable) -> AliasTable:
            self._examination(identity).verified()
            return table.moved(alias, version)

        self._change_aliases(name, move)
        return identity

    def split(self, name: str, alias: str, shares: Mapping[int, float]) -> AliasEntry:
        """Let two versions answer for an alias, after their verification; see `AliasTable.split`.

        Args:
            name: The model.
            alias: The alias.
            shares: Percent of the requests by version, for two versions, each above 0, together 100.

        Raises:
            InvalidReference: Not an alias, or `latest`.
            ModelNotFound: No such model or version.
            CorruptVersion: A version does not verify; the alias is unchanged.
            StoreWriteFailed: The alias could not be written; it is unchanged.
        """
        check_movable(alias)

        def move(_: OpenDirectory, table: AliasTable) -> AliasTable:
            for version in shares:
                self._examination(VersionId(name, version)).verified()
            return table.split(alias, shares)

        return self._change_aliases(name, move).aliases[alias]

    def rollback(self, name: str, alias: str) -> int:
        """Point an alias to its previous version after its verification, and return that version.

        An alias that splits keeps its own version, for all requests.

        Raises:
            InvalidReference: Not an alias, or `latest`.
            ModelNotFound: No such model or alias, or no earlier version that still exists.
            CorruptVersion: The earlier version does not verify; the alias is unchanged.
            StoreWriteFailed: The alias could not be written; it is unchanged.
        """
        check_movable(alias)

        def move(model: OpenDirectory, table: AliasTable) -> AliasTable:
            existing = frozenset(version_numbers(model))
            table = table.rolled_back(alias, existing, model=name)
            self._examination(VersionId(name, table.aliases[alias].version)).verified()
            return table

        return self._change_aliases(name, move, event="rolled-back").aliases[alias].version

    def adopt_aliases(self, name: str, table: AliasTable) -> Mapping[str, int]:
        """Take over the aliases of another store for a model that has none of its own.

        An alias whose version is not in this store is left out, and so is a canary.

        Returns:
            The aliases that this call set, with their versions.

        Raises:
            ModelNotFound: No such model.
            StoreWriteFailed: The aliases could not be written; they are unchanged.
        """
        adopted: dict[str, int] = {}

        def move(model: OpenDirectory, own: AliasTable) -> AliasTable:
            existing = version_numbers(model)
            taken = {
                alias: entry if set(entry.targets) <= set(existing) else entry.without_canary()
                for alias, entry in table.aliases.items()
                if alias != LATEST and entry.version in existing
            }
            if set(own.aliases) - {LATEST} or not taken:
                return own
            adopted.update({alias: entry.version for alias, entry in taken.items()})
            return own.adopting(taken)

        self._change_aliases(name, move)
        return adopted

    def place(
        self, identity: VersionId, origin: OpenDirectory, *, source: str, signature: bytes | None = None
    ) -> bool:
        """Copy a version of another store under its own number; see `placing.place`."""
        self._make_writable()
        return place(self.root, identity, origin, source=source, limits=self.limits, signature=signature)

    def attach(self, identity: VersionId, signature: bytes) -> None:
        """Put a signature next to its version, in place of an earlier one. It is not checked here.

        Raises:
            ModelNotFound: No such model or version.
            StoreWriteFailed: It could not be written; an earlier one is unchanged.
        """
        self.manifest(identity)
        self._make_writable()
        with self._changing(identity.name) as (_, model):
            replace_file(model, signature_file(identity.version), signature)

    def remove(self, name: str, version: int, *, with_aliases: bool = False) -> tuple[str, ...]:
        """Remove a version: it disappears by one rename, and its number is never used again.

        Args:
            name: The model.
            version: The version, or another entry with the name of a version.
            with_aliases: Also remove the aliases that point to it, and end the splits whose canary it is.
                `latest` then names the highest version that is left.

        Returns:
            The aliases that are gone, without `latest`.

        Raises:
            ModelNotFound: No such model or version.
            VersionInUse: An alias points to it, and `with_aliases` is false; nothing was changed.
            CorruptAliases: The aliases are unknown; nothing was changed.
            StoreWriteFailed: It could not be removed, or not all of its files.
        """
        identity = VersionId(name, version)
        with self._model(name) as model:
            self._refuse_removal(model, identity, with_aliases=with_aliases)
        self._make_writable()
        with self._changing(name) as (store, model):
            self._refuse_removal(model, identity, with_aliases=with_aliases)
            before = read_aliases(model, self.limits)
            remaining = [number for number in version_numbers(model) if number != version]
            after = before.without(version, remaining)
            if after != before:
                with recorded(store, moves(name, before, after)):
                    self._replace_aliases(model, after)
            remove_version(store, model, identity)
        return tuple(sorted(set(before.aliases) - set(after.aliases)))

    def gc(
        self,
        *,
        keep: int | None = None,
        older_than_s: float = DEFAULT_OLDER_THAN_S,
        dry_run: bool = False,
    ) -> CollectionReport:
        """Remove leftovers of crashed publishers, and with `keep` old versions that no alias needs.

        Args:
            keep: Number of newest versions without an alias to keep in each model; None removes no version.
            older_than_s: Minimum age of a temporary, in seconds; 0 removes all that belong to no active
                publisher.
            dry_run: Only report.

        Raises:
            StoreWriteFailed: An entry could not be removed.
        """
        rules = CollectionRules(keep=keep, older_than_s=older_than_s, dry_run=dry_run)
        if not dry_run:
            self._make_writable()
        try:
            with self._root() as store:
                return collect(store, rules, self.limits)
        except FileNotFoundError:
            return CollectionReport(dry_run, (), (), ())

    def _make_writable(self) -> None:
        """Called before each change of the store, after all checks that need no change."""

    @contextmanager
    def _changing(self, name: str) -> Iterator[tuple[OpenDirectory, OpenDirectory]]:
        """The root and the model, under the lock that every change of aliases needs."""
        with self._model(name) as model, self._root() as store, lock(store, LOCK_FILE):
            yield store, model

    def _change_aliases(
        self,
        name: str,
        move: Callable[[OpenDirectory, AliasTable], AliasTable],
        *,
        event: Literal["promoted", "rolled-back"] = "promoted",
    ) -> AliasTable:
        """Replace the aliases of a model, record that, and return the new ones."""
        if self.is_borrowed:
            with self._model(name) as model:  # a move that would be refused must not copy the store first
                move(model, read_aliases(model, self.limits))
        self._make_writable()
        with self._changing(name) as (store, model):
            before = read_aliases(model, self.limits)
            after = move(model, before)
            if after != before:
                with recorded(store, moves(name, before, after, event=event)):
                    self._replace_aliases(model, after)
        return after

    def _refuse_removal(self, model: OpenDirectory, identity: VersionId, *, with_aliases: bool) -> None:
        number = identity.version
        numbers = version_numbers(model)
        if number not in (*numbers, *stray_numbers(model)):
            raise unknown_version(model, identity)
        entries = dict(read_aliases(model, self.limits).aliases)
        if numbers:
            entries[LATEST] = AliasEntry(version=numbers[-1])
        pointing = sorted(alias for alias, entry in entries.items() if number in entry.targets)
        if pointing and not with_aliases:
            remedy = "Pass" if pointing == [LATEST] else "Move them with 'vae-store promote', or pass"
            raise VersionInUse(
                f"{model.path}: expected no alias of version {number}, got {listed(pointing)}. "
                f"{remedy} --force to remove the version all the same: its aliases go with it, and "
                f"{LATEST!r} always names the highest version."
            )

    def _replace_aliases(self, model: OpenDirectory, table: AliasTable) -> None:
        replace_file(model, ALIASES_FILE, table.to_bytes())
