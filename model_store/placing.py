"""A version of another store becomes a version of this one: the same bytes under the same number.

Knows the order of writes that leaves either the whole version or nothing, as `publishing.py` does. Knows
nothing of the choice of versions, nor of the place that they come from.

    copy into .tmp-…/ ─▶ verify the copy ─▶ lock ─▶ is the number free? ─▶ new aliases as a temporary file
        ─▶ signature ─▶ record ─▶ rename to the number ─▶ sync ─▶ rename aliases.json ─▶ sync ─▶ unlock
"""

from __future__ import annotations

from pathlib import Path

from model_store.aliases import ALIASES_FILE
from model_store.directory import highest_number, read_aliases
from model_store.durable_io import (
    LOCK_FILE,
    PUBLISHERS_FILE,
    lock,
    make_directory,
    make_root,
    remove,
    remove_if_empty,
    rename,
    replace_file,
    sync_directory,
    temporary_name,
    write_file,
)
from model_store.errors import CorruptVersion, StoreError, StoreLocked, VersionTaken
from model_store.history import arrival, recorded, recorded_digest
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.manifest import Manifest
from model_store.signature import signature_file
from model_store.verification import examine, read_manifest
from model_store.version_files import MANIFEST_FILE
from model_store.version_id import VersionId


def place(
    root: Path,
    identity: VersionId,
    origin: OpenDirectory,
    *,
    source: str,
    limits: SizeLimits,
    signature: bytes | None = None,
) -> bool:
    """Copy a version into the store below `root`, and verify the copy before it becomes visible.

    No alias moves, except `latest`, which always names the highest version.

    Args:
        root: The store; created if it is absent.
        identity: Name and number, in `origin` and here.
        origin: The directory of the version.
        source: The origin for the record.
        limits: Ceilings in bytes for each file.
        signature: The signature of the version, unchecked; it is there before the version is.

    Returns:
        False if this store has the same version already; then its signature stays as it is.

    Raises:
        VersionTaken: The number belongs, or belonged, to another version.
        CorruptVersion: `origin` does not verify, or this model's aliases must be repaired first.
        StoreWriteFailed: The store cannot be written; the version is not visible.
    """
    manifest = read_manifest(origin, identity, limits)
    make_root(root)
    with OpenDirectory.at(root) as store, lock(store, PUBLISHERS_FILE, shared=True):
        placement = _Placement(
            store, identity, manifest, origin, source=source, limits=limits, signature=signature
        )
        return placement.run()


class _Placement:
    """One run of the sequence at the top of this module."""

    def __init__(
        self,
        store: OpenDirectory,
        identity: VersionId,
        manifest: Manifest,
        origin: OpenDirectory,
        *,
        source: str,
        limits: SizeLimits,
        signature: bytes | None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._manifest = manifest
        self._origin = origin
        self._source = source
        self._limits = limits
        self._signature = signature
        self._temporary = temporary_name()
        self._temporary_aliases = temporary_name()

    def run(self) -> bool:
        store, name = self._store, self._identity.name
        try:
            with lock(store, LOCK_FILE):
                if make_directory(store, name):
                    sync_directory(store)
                with store.subdirectory(name) as model:
                    read_aliases(model, self._limits)  # refuse a corrupt table before anything is written
                    if self._is_present(model):
                        return False
                    make_directory(model, self._temporary)
            with store.subdirectory(name) as model:
                with model.subdirectory(self._temporary) as version:
                    self._copy(version)
                with lock(store, LOCK_FILE):
                    return self._reveal(model)
        finally:
            self._clean()

    def _copy(self, version: OpenDirectory) -> None:
        """Copy the files of the manifest, then read everything back and verify it."""
        for file in (*self._manifest.file_names, MANIFEST_FILE):
            data = self._origin.read(file, ceiling_bytes=self._limits.of(file))
            write_file(version, file, data)
        sync_directory(version)
        try:
            examine(version, self._identity, self._limits).verified()
        except CorruptVersion:
            # Of the origin, whose path still exists when a person reads the error.
            examine(self._origin, self._identity, self._limits).verified()
            raise

    def _reveal(self, model: OpenDirectory) -> bool:
        if self._is_present(model):
            return False
        number = self._identity.version
        table = read_aliases(model, self._limits).with_highest(max(highest_number(model), number))
        write_file(model, self._temporary_aliases, table.to_bytes())
        if self._signature is not None:
            replace_file(model, signature_file(number), self._signature)
        entry = arrival(self._identity, manifest_sha256=self._manifest.manifest_sha256, source=self._source)
        try:
            with recorded(self._store, [entry]):
                rename(model, self._temporary, str(number))
        except FileExistsError:
            # A process without the lock was faster.
            if self._is_present(model):
                return False
            raise
        sync_directory(model)
        rename(model, self._temporary_aliases, ALIASES_FILE)
        sync_directory(model)
        return True

    def _is_present(self, model: OpenDirectory) -> bool:
        """Whether the number is in use by the same version.

        Raises:
            VersionTaken: It is, or was, in use by another one.
        """
        identity, number = self._identity, str(self._identity.version)
        if number not in model.entries():
            known = recorded_digest(self._store, identity)
            if known not in (None, self._manifest.manifest_sha256):
                raise VersionTaken(
                    f"{self._store.path}: {identity} was another version, which has been removed, and no "
                    f"number means two versions. {_REMEDY}"
                )
            return False
        try:
            with model.subdirectory(number) as version:
                here = read_manifest(version, identity, self._limits)
        except (CorruptVersion, FileNotFoundError) as error:
            raise VersionTaken(
                f"{model.path / number}: expected a readable version or a free number, got: {error} To "
                f"replace it, run 'vae-store remove {identity} --force' and add the version again."
            ) from error
        if here.manifest_sha256 != self._manifest.manifest_sha256:
            raise VersionTaken(
                f"{self._store.path}: {identity} is another version than that of {self._source}. {_REMEDY}"
            )
        return True

    def _clean(self) -> None:
        """Remove temporary entries, and an empty directory of a model that never had a version."""
        name = self._identity.name
        try:
            with self._store.subdirectory(name) as model:
                for entry in {self._temporary, self._temporary_aliases} & set(model.entries()):
                    remove(model, entry)
                left = set(model.entries())
            if not left:
                with lock(self._store, LOCK_FILE, wait_s=1.0):
                    remove_if_empty(self._store, name)
        except (FileNotFoundError, StoreLocked):
            pass
        except StoreError:
            pass  # the original error is the one to report; the collector removes the rest


_REMEDY = "Pass --renumber to add it under the next free number."
