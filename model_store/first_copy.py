"""A whole store copied to a new place: complete there, or absent.

Knows the order of writes and the lock that make it so, for several processes at once, for a full disk and for
a crash. Knows nothing of the reason for a copy. Files are copied as they are; readers verify them as in any
store.

    lock the parent ─▶ copy into .tmp-…/, each file synced ─▶ rename to the target ─▶ sync ─▶ unlock
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.aliases import ALIASES_FILE, AliasTable
from model_store.directory import model_names, read_aliases, version_numbers
from model_store.durable_io import (
    LOCK_FILE,
    TEMPORARY_PREFIX,
    lock,
    make_directory,
    make_root,
    remove,
    rename,
    sync_directory,
    temporary_name,
    write_file,
)
from model_store.errors import CorruptVersion, NotPermitted, UnreadableFile, UnsafeFile
from model_store.history import HistoryEntry, arrival, moves, recorded
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.verification import read_manifest
from model_store.version_files import MANIFEST_FILE, OPTIONAL_FILES, REQUIRED_FILES
from model_store.version_id import VersionId

_FILES = (*REQUIRED_FILES, *OPTIONAL_FILES, MANIFEST_FILE)


def copy_store(source: OpenDirectory, target: Path, *, label: str, limits: SizeLimits) -> bool:
    """Copy every model of a store, with its aliases, to a place where there is none.

    Args:
        source: The store to copy.
        target: Where the copy appears; its parents are created.
        label: The origin for the record of the copy.
        limits: Ceilings in bytes for each file.

    Returns:
        False if there is something at `target` already; another process may have been faster.

    Raises:
        StoreWriteFailed: Disk full, read-only, permissions; there is nothing at `target`.
        UnreadableFile: The same for a failed read of the source.
    """
    make_root(target.parent)
    with OpenDirectory.at(target.parent) as parent, lock(parent, LOCK_FILE):
        if target.name in parent.entries():
            return False
        # Under the lock no other process copies: these are of one that was killed.
        for entry in parent.entries():
            if entry.startswith(TEMPORARY_PREFIX):
                remove(parent, entry)
        temporary = temporary_name()
        try:
            make_directory(parent, temporary)
            with parent.subdirectory(temporary) as copy:
                _copy_models(source, copy, label=label, limits=limits)
                sync_directory(copy)
            rename(parent, temporary, target.name)
            sync_directory(parent)
        except FileExistsError:
            return False
        finally:
            remove(parent, temporary)
    return True


def _copy_models(source: OpenDirectory, copy: OpenDirectory, *, label: str, limits: SizeLimits) -> None:
    entries: list[HistoryEntry] = []
    for name in model_names(source):
        # Such an entry may belong to another program; `vae-store list` names it in the source.
        with suppress(UnsafeFile, NotPermitted, FileNotFoundError), source.subdirectory(name) as model:
            numbers = version_numbers(model)
            if not numbers:
                continue
            make_directory(copy, name)
            with copy.subdirectory(name) as into:
                for number in numbers:
                    entries += _copy_version(model, into, VersionId(name, number), label=label, limits=limits)
                entries += _copy_aliases(model, into, name, limits)
                sync_directory(into)
    with recorded(copy, entries):
        pass


def _copy_version(
    model: OpenDirectory, into: OpenDirectory, identity: VersionId, *, label: str, limits: SizeLimits
) -> list[HistoryEntry]:
    number = str(identity.version)
    make_directory(into, number)
    with model.subdirectory(number) as origin, into.subdirectory(number) as version:
        for file in sorted(set(_FILES) & set(origin.entries())):
            with _defects_included():
                write_file(version, file, origin.read(file, ceiling_bytes=limits.of(file)))
        sync_directory(version)
        with _defects_included():
            digest = read_manifest(origin, identity, limits).manifest_sha256
            return [arrival(identity, manifest_sha256=digest, source=label)]
    return []


def _copy_aliases(
    model: OpenDirectory, into: OpenDirectory, name: str, limits: SizeLimits
) -> tuple[HistoryEntry, ...]:
    if ALIASES_FILE not in model.entries():
        return ()
    with _defects_included():
        data = model.read(ALIASES_FILE, ceiling_bytes=limits.aliases_bytes)
        write_file(into, ALIASES_FILE, data)
        return moves(name, AliasTable(), read_aliases(into, limits))
    return ()


@contextmanager
def _defects_included() -> Iterator[None]:
    """A damaged version is as damaged in the copy, where `verify` names the defect. A failed read is none."""
    try:
        yield
    except UnreadableFile:
        raise
    except CorruptVersion:
        pass
