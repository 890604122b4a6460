"""A local copy of a store on object storage, verified like any other store.

Knows remote keys, files and one library, fsspec, which is an extra and imported only here. Knows nothing of
HTTP or of models; the store decides whether a version is sound.

Versions never change, so each is fetched once: into a separate directory, verified there, and renamed into
place when it is complete. Uploads to object storage are not atomic, so a version with missing files counts as
not there yet. Names and numbers must match the store's grammar and file names a list, so that no remote key
leads elsewhere. Sizes are compared with the store's ceilings and with the free room before a byte is fetched.
An alias file is copied when all its versions are here. Nothing is ever deleted from the copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from model_store import ModelReference, ModelStore, StoreError
from model_store.aliases import ALIASES_FILE, AliasTable
from model_store.integrity import SizeLimits
from model_store.manifest import (
    ALWAYS_REQUIRED_FILES,
    MANIFEST_FILE,
    OPTIONAL_FILES,
    REQUIRED_FILES,
)
from model_store.reference import is_model_name, version_number
from model_store.signature import MAX_SIGNATURE_BYTES, signature_file
from service.engine import LoadFailure
from service.log_fields import fields

#: Stays free on the disk, for any content of the remote store.
ROOM_BYTES: Final = 256 * 1024 * 1024
_MOST_NAMES: Final = 1_000
_MOST_VERSIONS: Final = 1_000
#: Of an imported version, either graph may be missing; its manifest says which.
_NEEDED: Final = (MANIFEST_FILE, *ALWAYS_REQUIRED_FILES)
_FILES: Final = (MANIFEST_FILE, *REQUIRED_FILES, *OPTIONAL_FILES)
_INCOMING: Final = ".incoming-"
_ABANDONED_S: Final = 3600.0
_LOCK_FILE: Final = ".mirror-lock"
_NAME_A_DIRECTORY: Final = "Name a writable one (--store-cache, VAE_STORE_CACHE)."
#: A storage that does not answer is reported within seconds, and retried at the next check.
_S3_OPTIONS: Final[Mapping[str, object]] = {
    "use_listings_cache": False,
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}},
}


_log = logging.getLogger(__name__)


class MirrorError(Exception):
    """The mirror is unusable; the message names the reason and the remedy."""


def cache_directory(address: str, chosen: Path | None = None) -> Path:
    """Directory for the copy of a remote store: below `chosen`, or below the user's cache directory.

    Raises:
        MirrorError: The user has no home, such as an arbitrary uid of a container.
    """
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    if chosen is not None:
        return chosen / name
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            raise MirrorError(
                f"--store {address[:200]}: expected a directory for its copy, but user {os.getuid()} has no "
                f"home and HOME is unset. {_NAME_A_DIRECTORY}"
            ) from None
    return cache / "vae-service" / name


class StoreMirror:
    """One remote store and its copy. Any thread may use it, and several processes may share the copy."""

    def __init__(self, address: str, directory: Path, *, limits: SizeLimits | None = None) -> None:
        """Nothing is fetched yet.

        Args:
            address: Such as `s3://bucket/prefix`: any address that fsspec knows.
            directory: Directory of the copy; created on demand.
            limits: Ceilings in bytes for each file.

        Raises:
            MirrorError: The kind of address is unknown, or its library is not installed.
        """
        self.address = address
        self.directory = directory
        self._limits = limits or SizeLimits()
        self._refused: dict[str, tuple[object, str]] = {}
        self._signatures: dict[str, object] = {}  # tag of each signature that was copied, by its path
        self._failures: tuple[LoadFailure, ...] = ()
        self._ignored: tuple[LoadFailure, ...] = ()
        self._one_at_a_time = threading.Lock()
        try:
            import fsspec.core  # noqa: PLC0415  (an extra, and slow to import)

            options = _S3_OPTIONS if address.startswith(("s3://", "s3a://")) else {}
            self._remote, self._root = fsspec.core.url_to_fs(address, **options)
        except (ImportError, ValueError) as error:
            raise MirrorError(
                f"--store {address[:200]}: the installed libraries cannot read it: {error}. Install the "
                "extra (pip install 'vae-service[s3]'), correct the address, or name a directory."
            ) from None

    @property
    def failures(self) -> tuple[LoadFailure, ...]:
        """Models that the last `sync` could not copy."""
        return self._failures

    @property
    def ignored(self) -> tuple[LoadFailure, ...]:
        """Names that the last `sync` was not permitted to read and that were never copied."""
        return self._ignored

    def sync(self, *, again: bool = False) -> bool:
        """Copy new versions and aliases. It never raises for the content or the absence of the remote store.

        Args:
            again: Also retry what was refused and has not changed since.

        Returns:
            Whether the failures differ from those of the previous call.
        """
        with self._one_at_a_time:
            if again:
                self._refused.clear()
            failures: list[LoadFailure] = []
            try:
                failures = self._copy()
            except Exception as error:  # every kind of storage has its own errors
                failures = [LoadFailure("the store", f"{self.address} cannot be copied: {_one_line(error)}")]
            changed = tuple(failures) != self._failures
            self._failures = tuple(failures)
            return changed

    def fetch(self, reference: ModelReference | None) -> tuple[LoadFailure, ...]:
        """Copy once: everything, the versions of one model, or one version. It raises nothing, as `sync`.

        Returns:
            The models and versions that could not be copied, and the reasons.
        """
        if reference is None:
            self.sync(again=True)
            return (*self._failures, *self._ignored)
        label = str(reference)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if reference.version is None:
                return tuple(self._sync_name(reference.name))
            entries = self._details(f"{self._root}/{reference.name}")
            reason = self._fetch_version(reference.name, reference.version, entries)
            if reason is None and not (self.directory / reference.name / str(reference.version)).is_dir():
                reason = "it is incomplete, or still being uploaded."
        except Exception as error:  # as in `sync`
            reason = f"{self.address} cannot be read: {_one_line(error)}"
        return () if reason is None else (LoadFailure(label, reason),)

    def _copy(self) -> list[LoadFailure]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / _LOCK_FILE).open("ab")
        except OSError as error:  # the home is `/`, as for an arbitrary uid, or the disk is read-only
            where = f"{self.address} cannot be copied into {self.directory}: {error.strerror}."
            return [LoadFailure("the store", f"{where} {_NAME_A_DIRECTORY}")]
        with lock:  # against other processes; the system releases it when this one ends
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._sweep()
            return self._sync_names()

    def _sync_names(self) -> list[LoadFailure]:
        failures: list[LoadFailure] = []
        ignored: list[LoadFailure] = []
        names = sorted(filter(is_model_name, self._list(self._root)))
        if not names:
            raise FileNotFoundError("it contains no model")
        for name in names[:_MOST_NAMES]:
            try:
                failures += self._sync_name(name)
            except Exception as error:
                failure = LoadFailure(name, f"It cannot be fetched: {_one_line(error)}")
                # An unreadable entry that was never copied may belong to another program.
                foreign = isinstance(error, PermissionError) and not (self.directory / name).is_dir()
                (ignored if foreign else failures).append(failure)
        for entry in ignored:
            if entry not in self._ignored:
                _log.warning("store entry ignored", extra=fields(model=entry.model, reason=entry.reason))
        self._ignored = tuple(ignored)
        return failures

    def _sync_name(self, name: str) -> list[LoadFailure]:
        entries = self._details(f"{self._root}/{name}")
        numbers = sorted((number for entry in entries if (number := version_number(entry))), reverse=True)
        local = self.directory / name
        failures: list[LoadFailure] = []
        for number in numbers[:_MOST_VERSIONS]:
            try:
                if (local / str(number)).is_dir():
                    self._fetch_signature(name, number, entries)
                    continue
                reason = self._fetch_version(name, number, entries)
            except Exception as error:
                reason = f"It cannot be fetched: {_one_line(error)}"
            if reason is not None:
                failures.append(LoadFailure(f"{name}@{number}", reason))
        if ALIASES_FILE in entries and local.is_dir():
            try:
                reason = self._fetch_aliases(name)
            except Exception as error:
                reason = f"{ALIASES_FILE} cannot be fetched: {_one_line(error)}"
            if reason is not None:
                failures.append(LoadFailure(name, reason))
        return failures

    def _fetch_version(self, name: str, number: int, entries: Mapping[str, Mapping[str, Any]]) -> str | None:
        """The reason why a version is not here; None if it is here, or still being uploaded.

        Args:
            name: The model.
            number: The version.
            entries: The model's own entries, where the signatures are.
        """
        remote = f"{self._root}/{name}/{number}"
        found = self._details(remote)
        details = {file: found[file] for file in _FILES if file in found and found[file]["type"] == "file"}
        if not set(_NEEDED) <= set(details):
            return None
        label = f"{name}@{number}"
        signature = tuple((file, entry["size"], str(entry.get("ETag"))) for file, entry in details.items())
        known = self._refused.get(label)
        if known is not None and known[0] == signature:
            return known[1]
        total = sum(entry["size"] for entry in details.values())
        free = shutil.disk_usage(self.directory).free
        reason = self._too_large(details)
        if reason is None and total + ROOM_BYTES > free:
            return (
                f"It needs {total} bytes, and {free} are free in {self.directory}, where {ROOM_BYTES} must "
                "stay free. Make room, or move the copy (VAE_STORE_CACHE)."
            )
        reason = reason or self._place(name, number, remote, details, entries)
        if reason is not None:
            self._refused[label] = (signature, reason)
        return reason

    def _too_large(self, details: Mapping[str, Mapping[str, Any]]) -> str | None:
        for file, entry in details.items():
            if entry["size"] > (most := self._limits.of(file)):
                return f"{file}: expected at most {most} bytes, got {entry['size']}."
        return None

    def _place(
        self,
        name: str,
        number: int,
        remote: str,
        there: Collection[str],
        entries: Mapping[str, Mapping[str, Any]],
    ) -> str | None:
        """Fetch, verify and rename; do nothing while a file of the manifest is still being uploaded."""
        with tempfile.TemporaryDirectory(prefix=_INCOMING, dir=self.directory) as staging:
            fetched = Path(staging) / name / str(number)
            fetched.mkdir(parents=True)
            store = ModelStore(Path(staging), limits=self._limits)
            self._fetch(
                f"{remote}/{MANIFEST_FILE}", fetched / MANIFEST_FILE, most=self._limits.manifest_bytes
            )
            try:
                named = store.manifest(f"{name}@{number}").file_names
                if not set(named) <= set(there):
                    return None
                for file in named:
                    self._fetch(f"{remote}/{file}", fetched / file, most=self._limits.of(file))
                store.verify(f"{name}@{number}")
            except StoreError as error:
                # Name the remote address in the message, because the temporary directory is gone by then.
                return str(error).replace(staging, self.address.rstrip("/"))[:600]
            (self.directory / name).mkdir(exist_ok=True)
            # First, so that a reader that requires it never finds the version without.
            self._fetch_signature(name, number, entries)
            fetched.rename(self.directory / name / str(number))
        return None

    def _fetch_signature(self, name: str, number: int, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Copy the signature of a version if there is one that is not here. Readers check it."""
        file = signature_file(number)
        found = entries.get(file)
        local = self.directory / name / file
        if found is None or found["type"] != "file" or found["size"] > MAX_SIGNATURE_BYTES:
            return
        tag = tuple(str(found.get(name)) for name in ("size", "ETag", "LastModified", "mtime"))
        if self._signatures.get(str(local)) == tag and local.is_file():
            return
        handle, temporary = tempfile.mkstemp(prefix=_INCOMING, dir=self.directory)
        os.close(handle)
        self._fetch(f"{self._root}/{name}/{file}", Path(temporary), most=MAX_SIGNATURE_BYTES)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(local)
        self._signatures[str(local)] = tag

    def _fetch_aliases(self, name: str) -> str | None:
        """The reason why the aliases did not change; None if they equal those of the remote store."""
        local = self.directory / name / ALIASES_FILE
        most = self._limits.aliases_bytes
        with self._remote.open(f"{self._root}/{name}/{ALIASES_FILE}", "rb") as source:
            data = source.read(most + 1)
        if len(data) > most:
            return f"{ALIASES_FILE}: expected at most {most} bytes. The aliases are unchanged."
        if local.is_file() and local.read_bytes() == data:
            return None
        try:
            table = AliasTable.from_bytes(data, where=f"{self.address.rstrip('/')}/{name}/{ALIASES_FILE}")
        except StoreError as error:
            return f"{error} The aliases are unchanged."
        for alias, entry in sorted(table.aliases.items()):
            for version in entry.targets:
                if not (self.directory / name / str(version)).is_dir():
                    return (
                        f"{ALIASES_FILE}: '{alias}' names version {version}, which could not be fetched "
                        "or is still being uploaded. The aliases are unchanged."
                    )
        handle, temporary = tempfile.mkstemp(prefix=_INCOMING, dir=self.directory)
        with os.fdopen(handle, "wb") as target:
            target.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(local)
        return None

    def _fetch(self, remote: str, local: Path, *, most: int) -> None:
        """Fetch one file.

        Of a file that grew since the listing, fetch one byte too many, so that verification refuses it.
        """
        with self._remote.open(remote, "rb") as source, local.open("wb") as target:
            left = most + 1
            while left > 0 and (part := source.read(min(left, 1 << 20))):
                target.write(part)
                left -= len(part)

    def _sweep(self) -> None:
        """Remove the files of a process that was killed during a fetch."""
        before = time.time() - _ABANDONED_S
        for path in self.directory.glob(f"{_INCOMING}*"):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _list(self, directory: str) -> list[str]:
        return list(self._details(directory))

    def _details(self, directory: str) -> dict[str, dict[str, Any]]:
        """The entries directly below a key, by their last part."""
        found = self._remote.ls(directory, detail=True, refresh=True)
        return {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in found}


class MirrorThread:
    """Copies repeatedly, in a thread that no request waits for and that ends with the process.

    It has its own thread, outside the event loop: a storage that hangs must not prevent the server from
    stopping.
    """

    def __init__(self, mirror: StoreMirror, *, every_s: float, told: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            mirror: The mirror to copy.
            every_s: Seconds from the end of one copy to the start of the next.
            told: Called from the thread when the failures have changed.
        """
        self._mirror, self._every_s, self._told = mirror, every_s, told
        self._stop = threading.Event()
        self._first = threading.Event()
        threading.Thread(target=self._run, name="vae-mirror", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait at most so many seconds, and return whether the store has been copied once."""
        return self._first.wait(timeout_s)

    def stop(self) -> None:
        """Start no more copies; a running one is not interrupted."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            changed = self._mirror.sync()
            self._first.set()
            if changed and not self._stop.is_set():
                self._told()
            self._stop.wait(self._every_s)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
