"""The model store: list, resolve, open, publish, promote, roll back, collect.

Knows models, versions and aliases below one directory. Knows nothing of torch, onnxruntime or HTTP. It caches
nothing and keeps nothing open between calls, so any thread may use it, and a version that another process
published is visible at the next call.

    root/
      mnist/
        1/  encoder.onnx  decoder.onnx  manifest.json  golden.npz  MODEL_CARD.md  (prior.npz)
        2/  …
        aliases.json
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from model_store.aliases import ALIASES_FILE, LATEST, STABLE, AliasTable
from model_store.directory import highest_number, model_entries, read_aliases, stray_numbers, version_numbers
from model_store.durable_io import LOCK_FILE, lock, remove, rename, sync_directory, temporary_name, write_file
from model_store.echo import did_you_mean, echo
from model_store.errors import (
    CorruptAliases,
    CorruptVersion,
    InvalidReference,
    ModelNotFound,
    UnsafeFile,
    quoted,
)
from model_store.garbage import DEFAULT_OLDER_THAN_S, CollectionReport, CollectionRules, collect
from model_store.golden import GoldenVectors
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.manifest import Manifest, ManifestDraft
from model_store.prior import PriorMixtures
from model_store.publishing import check_candidate, publish
from model_store.reference import ModelReference, is_alias_name, is_model_name
from model_store.verification import Examination, PublishedModel, examine, read_manifest
from model_store.version_id import VersionId

#: Environment variable for the store, instead of the bundled one.
STORE_VARIABLE = "VAE_MODEL_STORE"
BUNDLED_STORE = Path(__file__).parent / "models"

Reference = str | ModelReference | VersionId

_MAX_LISTED = 20


def default_store_root() -> Path:
    """`VAE_MODEL_STORE` if it is set and not empty, otherwise the store of this package."""
    stated = os.environ.get(STORE_VARIABLE, "")
    return Path(stated) if stated else BUNDLED_STORE


class ModelStore:
    """All published models below `root`. An absent root is an empty store until the first publication."""

    def __init__(self, root: Path, *, limits: SizeLimits | None = None) -> None:
        self.root = Path(root)
        self.limits = limits or SizeLimits()

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

        Raises:
            ModelNotFound: No such model.
            CorruptAliases: `aliases.json` cannot be read.
        """
        with self._model(name) as model:
            targets = read_aliases(model, self.limits).versions()
            if numbers := version_numbers(model):
                # The existing versions decide, even if a crash left another record in the file.
                targets[LATEST] = numbers[-1]
            return dict(sorted(targets.items()))

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
                    _dangling(model, name, alias, number)
                    for alias, number in table.versions().items()
                    if number not in numbers
                ),
            )

    def publish(
        self,
        draft: ManifestDraft,
        *,
        encoder: bytes,
        decoder: bytes,
        golden: GoldenVectors,
        card: str | Callable[[Manifest], str],
        prior: PriorMixtures | None = None,
        aliases: Sequence[str] = (),
    ) -> VersionId:
        """Publish a version under the next number: completely or not at all, durable at the return.

        Args:
            draft: The manifest without the number and the digests.
            encoder: ONNX graph `x` → `mu`, `logvar`.
            decoder: ONNX graph `z` → `x_hat`.
            golden: Recorded inputs and outputs of both.
            card: `MODEL_CARD.md`, or a function that writes it for the numbered manifest.
            prior: The mixtures of the fitted prior, if `draft` lists one.
            aliases: Aliases to move to this version; `latest` moves by itself.

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
            card=card,
            aliases=aliases,
            limits=self.limits,
        )
        return publish(self.root, candidate, self.limits)

    def promote(self, name: str, alias: str, version: int) -> VersionId:
        """Point an alias to a version after its verification; the previous target is remembered.

        Raises:
            InvalidReference: Not an alias, or `latest`, which moves by itself.
            ModelNotFound: No such model or version.
            CorruptVersion: The version does not verify; the alias is unchanged.
            StoreWriteFailed: The alias could not be written; it is unchanged.
        """
        _check_movable(alias)
        identity = VersionId(name, version)
        with self._changing(name) as model:
            self._examination(identity).verified()
            table = read_aliases(model, self.limits).moved(alias, version)
            self._replace_aliases(model, table)
        return identity

    def rollback(self, name: str, alias: str) -> int:
        """Point an alias to its previous version after its verification, and return that version.

        Raises:
            InvalidReference: Not an alias, or `latest`.
            ModelNotFound: No such model or alias, or no earlier version that still exists.
            CorruptVersion: The earlier version does not verify; the alias is unchanged.
            StoreWriteFailed: The alias could not be written; it is unchanged.
        """
        _check_movable(alias)
        with self._changing(name) as model:
            existing = frozenset(version_numbers(model))
            table = read_aliases(model, self.limits).rolled_back(alias, existing, model=name)
            version = table.aliases[alias].version
            self._examination(VersionId(name, version)).verified()
            self._replace_aliases(model, table)
        return version

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
        try:
            with self._root() as store:
                return collect(store, rules, self.limits)
        except FileNotFoundError:
            return CollectionReport(dry_run, (), (), ())

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
        return OpenDirectory.at(self.root, hard_links=_same_path(self.root, BUNDLED_STORE))

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

    @contextmanager
    def _changing(self, name: str) -> Iterator[OpenDirectory]:
        """The same, under the lock that every change of aliases needs."""
        with self._model(name) as model, self._root() as store, lock(store, LOCK_FILE):
            yield model

    def _number(
        self, model: OpenDirectory, asked: ModelReference, aliases: Mapping[str, int] | None = None
    ) -> int:
        numbers = version_numbers(model)
        if asked.version is not None:
            if asked.version not in (*numbers, *stray_numbers(model)):
                raise _unknown_version(model, VersionId(asked.name, asked.version))
            return asked.version
        if asked.alias != LATEST:
            targets = read_aliases(model, self.limits).versions() if aliases is None else aliases
            number = targets.get(asked.alias or STABLE)
            if number is not None:
                if number not in numbers:
                    raise _dangling(model, asked.name, asked.alias or STABLE, number)
                return number
            if asked.alias is not None:
                known = _listed(sorted({*targets, LATEST}))
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
            except CorruptVersion as error:
                examination = Examination((error,), None)
            # The collector may have removed it during the read: then it is absent, not corrupt.
            if examination.problems and str(identity.version) not in model.entries():
                raise _unknown_version(model, identity)
            return examination

    def _version(self, model: OpenDirectory, identity: VersionId) -> OpenDirectory:
        try:
            return model.subdirectory(str(identity.version))
        except FileNotFoundError as error:
            raise _unknown_version(model, identity) from error

    def _replace_aliases(self, model: OpenDirectory, table: AliasTable) -> None:
        temporary = temporary_name()
        try:
            write_file(model, temporary, table.to_bytes())
            rename(model, temporary, ALIASES_FILE)
            sync_directory(model)
        finally:
            remove(model, temporary)

    def _unknown_model(self, name: str) -> ModelNotFound:
        names = self.names()
        hint = " ".join(filter(None, (did_you_mean(name, names), f"Existing models: {_listed(names)}.")))
        return ModelNotFound(
            f"{echo(name)}: no such model in {self.root}. {hint} Publish a model with 'vae-train export', or "
            "point --store or VAE_MODEL_STORE to the right store."
        )


def _parsed(reference: Reference) -> ModelReference:
    if isinstance(reference, VersionId):
        return ModelReference(reference.name, version=reference.version)
    return reference if isinstance(reference, ModelReference) else ModelReference.parse(reference)


def _same_path(one: Path, other: Path) -> bool:
    # Not Path.resolve, which raises for a link to itself.
    return os.path.realpath(one) == os.path.realpath(other)


def _has_versions(store: OpenDirectory, name: str) -> bool:
    try:
        with store.subdirectory(name) as model:
            return highest_number(model) > 0
    except FileNotFoundError:
        return False


def _check_movable(alias: str) -> None:
    if not is_alias_name(alias):
        raise InvalidReference(
            f"alias: {quoted(alias)} is none. Use lower-case letters, digits and hyphens, a letter first."
        )
    if alias == LATEST:
        raise InvalidReference(
            f"alias: {LATEST!r} always names the highest version, and only publishing moves it. Promote "
            f"{STABLE!r} or an alias of your own."
        )


def _dangling(model: OpenDirectory, name: str, alias: str, number: int) -> CorruptAliases:
    move = "publish the model again" if alias == LATEST else f"run 'vae-store promote {name}@VERSION {alias}'"
    return CorruptAliases(
        f"{model.path / ALIASES_FILE}: expected {alias!r} to name a version that exists, got {number}; "
        f"there is {_listed(version_numbers(model))}. Restore {name}@{number}, or {move}."
    )


def _unknown_version(model: OpenDirectory, identity: VersionId) -> ModelNotFound:
    return ModelNotFound(
        f"model {quoted(identity.name)} has no version {identity.version}; "
        f"there is {_listed(version_numbers(model))}."
    )


def _listed(items: Sequence[object]) -> str:
    """The last twenty at most: of versions those are the newest."""
    shown = ", ".join(map(str, items[-_MAX_LISTED:]))
    hidden = len(items) - _MAX_LISTED
    return (f"… ({hidden} more), {shown}" if hidden > 0 else shown) or "none"
