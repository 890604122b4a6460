"""Reading of a model store: list, resolve, open, verify.

Knows models, versions and aliases below one directory. Knows nothing of changes. It caches nothing and keeps
nothing open between calls, so any thread may use it, and a version that another process published is visible
at the next call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model_store import location
from model_store.aliases import LATEST, STABLE, AliasEntry, AliasTable
from model_store.directory import highest_number, model_entries, read_aliases, stray_numbers, version_numbers
from model_store.errors import CorruptVersion, ModelNotFound, UnsafeFile, quoted
from model_store.history import Record, read_record
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.manifest import Manifest
from model_store.reference import ModelReference, is_model_name
from model_store.signature import MAX_SIGNATURE_BYTES, TrustedKeys, signature_file
from model_store.store_messages import dangling, listed, unknown_model, unknown_version
from model_store.verification import Examination, PublishedModel, examine, read_manifest
from model_store.version_id import VersionId

Reference = str | ModelReference | VersionId


class ReadableStore:
    """All published models below `root`. An absent root is an empty store."""

    def __init__(self, root: Path, *, limits: SizeLimits | None = None) -> None:
        self._chosen_root = Path(root)
        self.limits = limits or SizeLimits()
        self._trusted: TrustedKeys | None = None

    def trust_only(self, keys: TrustedKeys) -> None:
        """From now on, reject every version without a signature by one of these keys."""
        self._trusted = keys

    @property
    def root(self) -> Path:
        """The directory of the store."""
        return self._chosen_root

    def single_model(self) -> str | None:
        """Name of the only model if the root may hold no other (`mounted`); None here."""
        return None

    def path_of(self, identity: VersionId) -> Path:
        """The directory of a version, whether it exists or not."""
        return self.root / identity.name / str(identity.version)

    def names(self) -> tuple[str, ...]:
        """Models with at least one version, in alphabetical order; `unusable` returns the other entries.

        Raises:
            UnreadableFile: The root itself cannot be read.
        """
        return self._survey()[0]

    def unusable(self) -> Mapping[str, CorruptVersion]:
        """Entries of the root with the name of a model that are unusable, and the reasons.

        An unreadable directory, a link, a file: it may belong to another program, and it hides no model.

        Raises:
            UnreadableFile: The root itself cannot be read.
        """
        return self._survey()[1]

    def versions(self, name: str) -> tuple[int, ...]:
        """Version numbers, ascending.

        Raises:
            ModelNotFound: No such model.
        """
        with self._model(name) as model:
            return version_numbers(model)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Alias to version, `latest` included, in alphabetical order; a target may be missing.

        Of an alias that splits, the version is its own, and not its canary.

        Raises:
            ModelNotFound: No such model.
            CorruptAliases: `aliases.json` cannot be read.
        """
        return {alias: entry.version for alias, entry in self.alias_entries(name).items()}

    def alias_entries(self, name: str) -> Mapping[str, AliasEntry]:
        """The same with the canary and the earlier targets of each; raises as `aliases`."""
        with self._model(name) as model:
            entries = dict(read_aliases(model, self.limits).aliases)
            if numbers := version_numbers(model):
                # The existing versions decide, even if a crash left another record in the file.
                entries[LATEST] = AliasEntry(version=numbers[-1])
            return dict(sorted(entries.items()))

    def resolve(self, reference: Reference, *, aliases: Mapping[str, int] | None = None) -> VersionId:
        """The version that a reference means at this moment.

        A bare name means its alias `stable` if that is set, otherwise the highest version.

        Args:
            reference: A name, with or without a version or an alias.
            aliases: The result of `aliases`, to resolve the reference as of that moment. Without it the
                aliases are read again, and may differ from those that the caller read before.

        Raises:
            InvalidReference: The text is no reference.
            ModelNotFound: No such model, version or alias.
            CorruptAliases: The alias cannot be read or points to a version that does not exist.
        """
        asked = _parsed(reference)
        with self._model(asked.name) as model:
            return VersionId(asked.name, self._number(model, asked, aliases))

    def open(self, reference: Reference) -> PublishedModel:
        """The version's content, with every byte verified.

        Raises:
            InvalidReference, ModelNotFound, CorruptAliases: As `resolve`.
            CorruptVersion: The first defect, in its own subclass.
        """
        return self._examination(reference).verified()

    def verify(self, reference: Reference) -> PublishedModel:
        """The same as `open`, for callers who need only the check."""
        return self.open(reference)

    def manifest(self, reference: Reference) -> Manifest:
        """The manifest alone, for listings: valid and of that version, but the other files are unchecked.

        Raises:
            InvalidReference, ModelNotFound, CorruptAliases: As `resolve`.
            CorruptVersion: The manifest is unreadable, in its own subclass.
        """
        asked = _parsed(reference)
        with self._model(asked.name) as model:
            identity = VersionId(asked.name, self._number(model, asked))
            with self._version(model, identity) as version:
                return read_manifest(version, identity, self.limits)

    def problems(self, reference: Reference) -> tuple[CorruptVersion, ...]:
        """All defects of one version; empty if it is sound.

        Raises:
            InvalidReference, ModelNotFound, CorruptAliases: As `resolve`.
        """
        return self._examination(reference).problems

    def model_problems(self, name: str) -> tuple[CorruptVersion, ...]:
        """Defects of a model outside its versions: its aliases, and entries that pose as versions.

        Raises:
            ModelNotFound: No such model.
        """
        with self._model(name) as model:
            found: list[CorruptVersion] = [
                UnsafeFile(f"{model.path / str(number)}: expected a directory, got {kind.value}. Remove it.")
                for number, kind in stray_numbers(model).items()
            ]
            try:
                table = read_aliases(model, self.limits)
            except CorruptVersion as error:
                return (*found, error)
            numbers = version_numbers(model)
            return (
                *found,
                *(
                    dangling(model, name, alias, number)
                    for alias, entry in sorted(table.aliases.items())
                    for number in entry.targets
                    if number not in numbers
                ),
            )

    def record(self, name: str) -> Record:
        """The recorded changes of a model; empty for a store without a record.

        Raises:
            ModelNotFound: There is neither such a model nor a record of it.
            UnreadableFile: The record cannot be read.
        """
        try:
            with self._root() as store:
                found = read_record(store, name)
        except FileNotFoundError:
            found = Record()
        if not found.entries:
            self.versions(name)  # raises if the model does not exist
        return found

    def alias_table(self, name: str) -> AliasTable:
        """The aliases of a model with their earlier targets, as they are in its file.

        Raises:
            ModelNotFound: No such model.
            CorruptAliases: `aliases.json` cannot be read.
        """
        with self._model(name) as model:
            return read_aliases(model, self.limits)

    def signature(self, identity: VersionId) -> bytes | None:
        """The signature of a version, unchecked; None if there is none.

        Raises:
            ModelNotFound: No such model.
            UnsafeFile, SizeMismatch, UnreadableFile: As for any file.
        """
        with self._model(identity.name) as model:
            return self._signature(model, identity)[1]

    @contextmanager
    def directory(self, identity: VersionId) -> Iterator[OpenDirectory]:
        """The open directory of a version, unverified.

        Raises:
            ModelNotFound: No such model or version.
            UnsafeFile, UnreadableFile: It is a link, or the operating system refuses.
        """
        with self._model(identity.name) as model, self._version(model, identity) as version:
            yield version

    def _survey(self) -> tuple[tuple[str, ...], Mapping[str, CorruptVersion]]:
        """Models in alphabetical order, and the reasons why other entries with such names are none."""
        names: list[str] = []
        unusable: dict[str, CorruptVersion] = {}
        try:
            with self._root() as store:
                for name in model_entries(store):
                    try:
                        if _has_versions(store, name):
                            names.append(name)
                    except CorruptVersion as error:
                        unusable[name] = error
        except FileNotFoundError:
            pass  # an absent root is an empty store
        return tuple(names), unusable

    def _root(self) -> OpenDirectory:
        # An installer that links from its cache (uv does, if it can) adds second names to the bundled store's
        # files. That store is as trusted as this code; its digests are checked all the same.
        root = self.root
        return OpenDirectory.at(root, hard_links=location.is_same_path(root, location.BUNDLED_STORE))

    @contextmanager
    def _model(self, name: str) -> Iterator[OpenDirectory]:
        """The directory of a model with at least one entry in the form of a version."""
        if not is_model_name(name):
            raise self._unknown_model(name)
        try:
            with self._root() as store:
                # A look-up in the directory's listing: a name outside of it is never opened.
                model = store.subdirectory(name)
        except FileNotFoundError as error:
            raise self._unknown_model(name) from error
        with model:
            if highest_number(model) == 0:
                raise self._unknown_model(name)
            yield model

    def _number(
        self, model: OpenDirectory, asked: ModelReference, aliases: Mapping[str, int] | None = None
    ) -> int:
        numbers = version_numbers(model)
        if asked.version is not None:
            if asked.version not in (*numbers, *stray_numbers(model)):
                raise unknown_version(model, VersionId(asked.name, asked.version))
            return asked.version
        if asked.alias != LATEST:
            targets = read_aliases(model, self.limits).versions() if aliases is None else aliases
            number = targets.get(asked.alias or STABLE)
            if number is not None:
                if number not in numbers:
                    raise dangling(model, asked.name, asked.alias or STABLE, number)
                return number
            if asked.alias is not None:
                known = listed(sorted({*targets, LATEST}))
                raise ModelNotFound(
                    f"model {quoted(asked.name)} has no alias {quoted(asked.alias)}; it has {known}. "
                    f"Set it with 'vae-store promote {asked.name}@VERSION {asked.alias}'."
                )
        if aliases is not None and LATEST in aliases:
            return aliases[LATEST]
        # Only links and files that pose as versions: name one, so that the error states its kind.
        return numbers[-1] if numbers else max(stray_numbers(model))

    def _examination(self, reference: Reference) -> Examination:
        asked = _parsed(reference)
        with self._model(asked.name) as model:
            identity = VersionId(asked.name, self._number(model, asked))
            try:
                with self._version(model, identity) as version:
                    examination = examine(version, identity, self.limits)
                if self._trusted is not None and examination.model is not None:
                    examination = self._signed(examination.model, model, self._trusted)
            except CorruptVersion as error:
                examination = Examination((error,), None)
            # The collector may have removed it during the read: then it is absent, not corrupt.
            if examination.problems and str(identity.version) not in model.entries():
                raise unknown_version(model, identity)
            return examination

    def _signed(self, published: PublishedModel, model: OpenDirectory, trusted: TrustedKeys) -> Examination:
        """The verified version with its signer.

        Raises:
            InvalidSignature: No trusted key signed these bytes.
        """
        where, signature = self._signature(model, published.id)
        signer = trusted.check(signature, published.digests, where=where)
        return Examination((), dataclasses.replace(published, signed_by=signer))

    def _signature(self, model: OpenDirectory, identity: VersionId) -> tuple[Path, bytes | None]:
        """The place of a signature, and its content; None if there is none."""
        file = signature_file(identity.version)
        there = file in model.entries()
        return model.path / file, model.read(file, ceiling_bytes=MAX_SIGNATURE_BYTES) if there else None

    def _version(self, model: OpenDirectory, identity: VersionId) -> OpenDirectory:
        try:
            return model.subdirectory(str(identity.version))
        except FileNotFoundError as error:
            raise unknown_version(model, identity) from error

    def _unknown_model(self, name: str) -> ModelNotFound:
        return unknown_model(name, root=self.root, names=self.names())


def _parsed(reference: Reference) -> ModelReference:
    if isinstance(reference, VersionId):
        return ModelReference(reference.name, version=reference.version)
    return reference if isinstance(reference, ModelReference) else ModelReference.parse(reference)


def _has_versions(store: OpenDirectory, name: str) -> bool:
    try:
        with store.subdirectory(name) as model:
            return highest_number(model) > 0
    except FileNotFoundError:
        return False
