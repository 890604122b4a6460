"""The record of a store: which version and which alias changed, and when.

Knows the lines of `.history.jsonl` in the root of a store, and how one is appended or taken back. Knows
nothing of the changes themselves. The record is for people: no version and no alias depends on it, and a
store without it is complete. Every line is one JSON object; a line that this release cannot read is skipped
and counted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from model_store.aliases import LATEST, AliasEntry, AliasTable
from model_store.durable_io import remove, sync_directory, writing
from model_store.errors import StoreError, StoreWriteFailed, UnreadableFile
from model_store.integrity import OpenDirectory
from model_store.name_types import AliasName, ModelName, Sha256, VersionNumber
from model_store.version_id import VersionId

HISTORY_FILE = ".history.jsonl"
#: The newest part of the record that is read: about 60,000 changes.
MAX_READ_BYTES = 16 * 1024 * 1024
#: Maximum length of a source in the record.
_MAX_SOURCE_CHARACTERS = 400

Event = Literal["published", "added", "promoted", "rolled-back", "split", "alias-removed", "removed"]


class HistoryEntry(BaseModel):
    """One change of one model. Unknown keys are ignored: a later release may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    time: AwareDatetime
    event: Event
    name: ModelName
    version: VersionNumber | None = None
    """The version of the event, or the new target of `alias`."""
    alias: AliasName | None = None
    before: VersionNumber | None = None
    """The previous target of `alias`."""
    canary: VersionNumber | None = None
    """For `split`: the second version of `alias`, and its share of the requests."""
    percent: float | None = None
    source: str | None = None
    """Origin of an added version."""
    manifest_sha256: Sha256 | None = None
    """Identifies the content of a published or added version."""


@dataclass(frozen=True)
class Record:
    """The readable entries in their order, and the number of lines that cannot be read."""

    entries: tuple[HistoryEntry, ...] = ()
    unreadable: int = 0

    def digest_of(self, identity: VersionId) -> str | None:
        """The manifest's digest of the last version with this number, as far as it is recorded."""
        digests = [
            entry.manifest_sha256
            for entry in self.entries
            if (entry.name, entry.version) == (identity.name, identity.version) and entry.manifest_sha256
        ]
        return digests[-1] if digests else None


def now() -> datetime:
    """The time of an entry, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def arrival(identity: VersionId, *, manifest_sha256: str, source: str | None = None) -> HistoryEntry:
    """The entry of a version that becomes visible: published here, or added from a source."""
    return HistoryEntry(
        time=now(),
        event="published" if source is None else "added",
        name=identity.name,
        version=identity.version,
        source=None if source is None else source[:_MAX_SOURCE_CHARACTERS],
        manifest_sha256=manifest_sha256,
    )


def removal(identity: VersionId) -> HistoryEntry:
    """The entry of a removed version."""
    return HistoryEntry(time=now(), event="removed", name=identity.name, version=identity.version)


def moves(
    name: str,
    before: AliasTable,
    after: AliasTable,
    *,
    event: Literal["promoted", "rolled-back"] = "promoted",
) -> tuple[HistoryEntry, ...]:
    """The entries for every alias whose targets differ, without `latest`, which moves by itself."""
    return tuple(
        _move(name, alias, before.aliases.get(alias), after.aliases.get(alias), event)
        for alias in sorted({*before.aliases, *after.aliases} - {LATEST})
        if _shares(before, alias) != _shares(after, alias)
    )


def _shares(table: AliasTable, alias: str) -> dict[int, float] | None:
    entry = table.aliases.get(alias)
    return None if entry is None else entry.shares


def _move(
    name: str,
    alias: str,
    before: AliasEntry | None,
    after: AliasEntry | None,
    event: Literal["promoted", "rolled-back"],
) -> HistoryEntry:
    canary = None if after is None else after.canary
    found: Event = "split" if canary is not None else event
    return HistoryEntry(
        time=now(),
        event=found if after is not None else "alias-removed",
        name=name,
        alias=alias,
        version=None if after is None else after.version,
        before=None if before is None else before.version,
        canary=None if canary is None else canary.version,
        percent=None if canary is None else canary.percent,
    )


@contextmanager
def recorded(store: OpenDirectory, entries: Sequence[HistoryEntry]) -> Iterator[None]:
    """Append entries before a change becomes visible, and take them back if it fails.

    The caller holds the store's lock. A crash in between leaves an entry without its change.

    Raises:
        StoreWriteFailed: The record cannot be written; it is as before.
    """
    if not entries:
        yield
        return
    data = b"".join(entry.model_dump_json(exclude_none=True).encode() + b"\n" for entry in entries)
    path = store.path / HISTORY_FILE
    with writing(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(HISTORY_FILE, flags, 0o644, dir_fd=store.descriptor)
    size: int | None = None
    try:
        with writing(path):
            size = _size(descriptor)
            _append(descriptor, size, data)
        if size == 0:
            sync_directory(store)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if size == 0:
                remove(store, HISTORY_FILE)
            elif size is not None:
                os.ftruncate(descriptor, size)
        raise
    finally:
        # The bytes are synced, so an error of close() has no consequence.
        with contextlib.suppress(OSError):
            os.close(descriptor)


def note(store: OpenDirectory, entries: Sequence[HistoryEntry]) -> None:
    """Append entries for a change that happened: a full disk must not prevent a removal."""
    with contextlib.suppress(StoreWriteFailed), recorded(store, entries):
        pass


def read_record(store: OpenDirectory, name: str) -> Record:
    """The entries of one model; empty if the store has no record.

    Raises:
        UnreadableFile: The file exists and cannot be read.
    """
    if HISTORY_FILE not in store.entries():
        return Record()
    entries: list[HistoryEntry] = []
    unreadable = 0
    for line in _lines(store):
        try:
            entry = HistoryEntry.model_validate_json(line)
        except (ValidationError, ValueError, RecursionError):
            unreadable += 1
            continue
        if entry.name == name:
            entries.append(entry)
    return Record(tuple(entries), unreadable)


def recorded_digest(store: OpenDirectory, identity: VersionId) -> str | None:
    """See `Record.digest_of`; None also if the record cannot be read."""
    try:
        return read_record(store, identity.name).digest_of(identity)
    except StoreError:
        return None


def _size(descriptor: int) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "an entry that is no regular file")
    return status.st_size


def _append(descriptor: int, size: int, data: bytes) -> None:
    # A writer that was killed may have left half a line, which must not swallow the next one.
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _lines(store: OpenDirectory) -> list[bytes]:
    """The lines of the newest `MAX_READ_BYTES`, without empty ones."""
    path = store.path / HISTORY_FILE
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(HISTORY_FILE, flags, dir_fd=store.descriptor)
        try:
            begin = max(0, _size(descriptor) - MAX_READ_BYTES)
            os.lseek(descriptor, begin, os.SEEK_SET)
            data = b""
            while len(data) < MAX_READ_BYTES and (part := os.read(descriptor, MAX_READ_BYTES - len(data))):
                data += part
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableFile(
            f"{path}: expected a readable file, got {error.strerror}. Move it away: the next change begins "
            "a new record, and no version and no alias depends on it."
        ) from error
    lines = data.split(b"\n")
    return [line for line in (lines[1:] if begin else lines) if line.strip()]
