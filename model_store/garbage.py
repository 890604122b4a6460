"""Remove unreachable entries: temporaries of crashed publishers and old versions without an alias.

Knows which entries may be removed and in which order. Knows nothing of their origin. A version disappears by
one rename before its files are removed, so no reader ever finds half of it under its number. An aliased
version, its alias's rollback target, and the highest version are never removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from model_store.directory import model_names, read_aliases, version_numbers
from model_store.durable_io import (
    LOCK_FILE,
    PUBLISHERS_FILE,
    TEMPORARY_PREFIX,
    lock,
    remove,
    remove_if_empty,
    rename,
    sync_directory,
    temporary_name,
    writing,
)
from model_store.errors import CorruptAliases, CorruptVersion, StoreError, StoreLocked, StoreWriteFailed
from model_store.history import note, removal
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.signature import signature_file
from model_store.version_id import VersionId

#: Younger temporaries stay by default: on a file system without locks, age is the only evidence.
DEFAULT_OLDER_THAN_S = 3600.0
_MAX_TOLD = 10


@dataclass(frozen=True)
class CollectionReport:
    """The entries that a collection removed, or would remove."""

    dry_run: bool
    temporaries: tuple[str, ...]
    """`<name>/<entry>` of each temporary."""
    versions: tuple[VersionId, ...]
    skipped: tuple[str, ...]
    """Sentences about skipped entries, with the reasons."""


@dataclass(frozen=True)
class CollectionRules:
    """The rules for a collection."""

    keep: int | None = None
    """Number of the newest versions without an alias to keep; None keeps every version."""
    older_than_s: float = DEFAULT_OLDER_THAN_S
    """Minimum age of a temporary, by its modification time."""
    dry_run: bool = False


@dataclass
class _Findings:
    temporaries: list[str] = field(default_factory=list)
    versions: list[VersionId] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[StoreWriteFailed] = field(default_factory=list)


def collect(store: OpenDirectory, rules: CollectionRules, limits: SizeLimits) -> CollectionReport:
    """Remove temporaries and, with `keep`, old versions, in every model of the store.

    Raises:
        StoreWriteFailed: An entry could not be removed; all others were.
    """
    findings = _Findings()
    if rules.dry_run:
        _collect_temporaries(store, rules, findings)
        _collect_versions(store, rules, limits, findings)
    else:
        try:
            # No publisher is active while this lock is held, so every temporary old enough is an orphan.
            with lock(store, PUBLISHERS_FILE, wait_s=0.0):
                _collect_temporaries(store, rules, findings)
        except StoreLocked:
            findings.skipped.append("temporaries: a publisher is active; run the command again afterwards")
        with lock(store, LOCK_FILE):
            _collect_versions(store, rules, limits, findings)
    if findings.failed:
        raise _all_failures(findings.failed)
    return CollectionReport(
        rules.dry_run, tuple(findings.temporaries), tuple(findings.versions), tuple(findings.skipped)
    )


def _collect_temporaries(store: OpenDirectory, rules: CollectionRules, findings: _Findings) -> None:
    # Wall clock, because the file system uses it; a time in the future counts as young.
    now = time.time()

    def collect_entry(name: str, model: OpenDirectory, entry: str) -> None:
        if rules.older_than_s > 0 and now - _modified_s(model, entry) < rules.older_than_s:
            findings.skipped.append(f"{name}/{entry}: younger than {rules.older_than_s:g} s")
            return
        if not rules.dry_run:
            _remove(model, entry)
        findings.temporaries.append(f"{name}/{entry}")

    def collect_model(name: str, model: OpenDirectory) -> None:
        for entry in sorted(entry for entry in model.entries() if entry.startswith(TEMPORARY_PREFIX)):
            try:
                collect_entry(name, model, entry)
            except StoreWriteFailed as error:
                findings.failed.append(error)
        if not rules.dry_run:
            remove_if_empty(store, name)

    _for_each_model(store, findings, collect_model)


def _collect_versions(
    store: OpenDirectory, rules: CollectionRules, limits: SizeLimits, findings: _Findings
) -> None:
    if rules.keep is None:
        return
    keep = rules.keep

    def collect_model(name: str, model: OpenDirectory) -> None:
        numbers = version_numbers(model)
        try:
            protected = read_aliases(model, limits).protected() | set(numbers[-1:])
        except StoreError as error:
            reason = "its aliases cannot be read" if isinstance(error, CorruptAliases) else str(error)
            findings.skipped.append(f"{name}: {reason}, so none of its versions is removed")
            return
        free = [number for number in numbers if number not in protected]
        for number in free[: max(0, len(free) - keep)]:
            try:
                if not rules.dry_run:
                    remove_version(store, model, VersionId(name, number))
                findings.versions.append(VersionId(name, number))
            except StoreWriteFailed as error:
                findings.failed.append(error)

    _for_each_model(store, findings, collect_model)


def _for_each_model(
    store: OpenDirectory, findings: _Findings, action: Callable[[str, OpenDirectory], None]
) -> None:
    """Every readable model; an unreadable one is skipped, and the others are still processed."""
    for name in model_names(store):
        try:
            with store.subdirectory(name) as model:
                action(name, model)
        except FileNotFoundError:
            continue  # removed by another process
        except CorruptVersion as error:
            if (reason := f"{name}: {error}") not in findings.skipped:
                findings.skipped.append(reason)


def _all_failures(failed: list[StoreWriteFailed]) -> StoreWriteFailed:
    """One error that lists the failures, at most ten of them."""
    shown = " ".join(map(str, failed[:_MAX_TOLD]))
    more = f" {len(failed) - _MAX_TOLD} more failed." if len(failed) > _MAX_TOLD else ""
    return StoreWriteFailed(
        f"{shown}{more} Everything else was removed.", errno=failed[0].errno, path=failed[0].path
    )


def remove_version(store: OpenDirectory, model: OpenDirectory, identity: VersionId) -> None:
    """Let a version disappear by one rename, record that, and remove its files.

    The caller holds the store's lock, and no alias points to the version.

    Raises:
        StoreWriteFailed: The version is still there, or some of its files are, under a temporary name.
    """
    doomed = temporary_name()
    rename(model, str(identity.version), doomed)
    sync_directory(model)
    note(store, [removal(identity)])
    remove(model, signature_file(identity.version))
    _remove(model, doomed)


def _remove(model: OpenDirectory, entry: str) -> None:
    if not remove(model, entry) and entry in model.entries():
        raise StoreWriteFailed(
            f"{model.path / entry}: expected to remove it, but the system refused. Check its owner and "
            "permissions.",
            path=str(model.path / entry),
        )
    sync_directory(model)


def _modified_s(model: OpenDirectory, entry: str) -> float:
    with writing(model.path / entry):
        return os.stat(entry, dir_fd=model.descriptor, follow_symlinks=False).st_mtime
