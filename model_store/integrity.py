"""Read from untrusted directories: by descriptor, without following links, within ceilings.

Knows directories, files, sizes and digests. Knows nothing of manifests, ONNX or models. A file is opened only
by an entry of a directory listing and a descriptor of that directory, so no text of a client or a manifest
ever becomes part of a path. The hashed bytes are the returned bytes.

It follows one kind of link, which Kubernetes uses for ConfigMaps, Secrets and projected volumes:

    ..2026_01_01_00_00_00.123/   the content; an update is another such directory
    ..data -> ..2026_01_01_00_00_00.123
    mnist  -> ..data/mnist

Both are read, compared with this form and resolved here, in their own directory, so that they lead nowhere
else. An open directory keeps the content that it found first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from model_store.errors import (
    DigestMismatch,
    ExtraFile,
    InvalidManifest,
    MissingFile,
    NotPermitted,
    SizeMismatch,
    UnreadableFile,
    UnsafeFile,
    defect,
    quoted,
)
from model_store.manifest import (
    CARD_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    PREVIEW_FILE,
    PRIOR_DENSITY_FILE,
    PRIOR_FILE,
    PRIOR_GOLDEN_FILE,
    PRIOR_SAMPLER_FILE,
    FileEntry,
)

_KIB, _MIB = 1024, 1024 * 1024
_READ_CHUNK_BYTES = 4 * _MIB
RESTORE = (
    "No part of this version is used. Restore it from its origin, or publish the model again and remove "
    "this version's directory."
)
_COPY = (
    "Replace it by a copy of its content: the store follows only links NAME -> ..data/NAME within one "
    "directory, as Kubernetes mounts a ConfigMap."
)
_WHOLE_VOLUME = (
    "Mount the whole volume and not a part of it (subPath): its ..data is missing in this directory."
)
#: The link to the present content of a mounted ConfigMap.
_DATA = "..data"
#: Entries of such a mount that are not content.
_OF_THE_MOUNT = re.compile(r"\.\.(data|data_tmp|[0-9][0-9_.]*)")

#: The placeholder for a manifest's own digest while that digest is computed.
UNSEALED = "0" * 64
# Inside a string the quotes would be escaped, so this pattern finds only keys.
_SEAL = re.compile(rb'("manifest_sha256"[ \t\r\n]*:[ \t\r\n]*")([0-9a-f]{64})"')


@dataclass(frozen=True)
class SizeLimits:
    """Ceilings in bytes, checked before a file is read; a version above them is rejected, not truncated."""

    manifest_bytes: int = _MIB
    """A manifest with a whole recipe is some kilobytes."""
    aliases_bytes: int = 256 * _KIB
    card_bytes: int = _MIB
    golden_bytes: int = 64 * _MIB
    """Packed; the unpacked ceiling is the same number."""
    prior_bytes: int = 64 * _MIB
    """Packed; the unpacked ceiling is the same number: 16,000 components of 32 latents, 60 of 512."""
    preview_bytes: int = 4 * _MIB
    """Packed; the unpacked ceiling is the same number. 500 images of 28 × 28 with 32 latents take 0.5 MB."""
    graph_bytes: int = 512 * _MIB
    """For each graph. Protocol buffers end at 2 GiB; both graphs are in memory during the load."""

    def of(self, file: str) -> int:
        """The ceiling for a file of a version."""
        return {
            MANIFEST_FILE: self.manifest_bytes,
            CARD_FILE: self.card_bytes,
            GOLDEN_FILE: self.golden_bytes,
            PRIOR_FILE: self.prior_bytes,
            PREVIEW_FILE: self.preview_bytes,
            PRIOR_SAMPLER_FILE: self.graph_bytes,
            PRIOR_DENSITY_FILE: self.graph_bytes,
            PRIOR_GOLDEN_FILE: self.golden_bytes,
            ENCODER_FILE: self.graph_bytes,
            DECODER_FILE: self.graph_bytes,
        }[file]


class EntryKind(Enum):
    """The kind of a directory entry, without following links."""

    FILE = "a regular file"
    DIRECTORY = "a directory"
    LINK = "a symbolic link"
    OTHER = "neither a file nor a directory"
    UNKNOWN = "something that cannot be looked at"
    """The operating system did not report the kind; opening the entry shows the reason."""


class OpenDirectory:
    """An open directory: reads stay inside it despite concurrent renames."""

    def __init__(self, descriptor: int, path: Path, *, hard_links: bool = False) -> None:
        self.descriptor = descriptor
        self.path = path
        self.hard_links = hard_links
        self._content: int | None = None

    @classmethod
    def at(cls, path: Path, *, hard_links: bool = False) -> OpenDirectory:
        """Open the root of a store; the operator chose it, so links on its path are followed.

        Args:
            path: The root.
            hard_links: Files below it may have other names elsewhere. Only for a store that a package
                installer wrote, which may link files from its cache instead of copying them.

        Raises:
            FileNotFoundError: It does not exist.
            UnreadableFile: It is no directory, or the operating system refuses.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return cls(descriptor, path, hard_links=hard_links)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error

    def subdirectory(self, name: str) -> OpenDirectory:
        """Open a directory from the listing of `entries`.

        Raises:
            UnsafeFile: It is a link or no directory.
            FileNotFoundError: It no longer exists.
            UnreadableFile: The operating system refuses.
        """
        path = self.path / name
        kind, directory = self._look().get(name, (None, self.descriptor))
        if kind is None:
            raise FileNotFoundError(path)
        if kind not in (EntryKind.DIRECTORY, EntryKind.UNKNOWN):
            raise self._wrong_kind(name, "a directory", kind)
        try:
            descriptor = os.open(
                name,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=directory,
            )
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        return OpenDirectory(descriptor, path, hard_links=self.hard_links)

    def entries(self) -> dict[str, EntryKind]:
        """Names and kinds of all entries; a followed link has the kind of its target."""
        return {name: kind for name, (kind, _) in self._look().items()}

    def _look(self) -> dict[str, tuple[EntryKind, int]]:
        """Kind of each entry, and the descriptor of its directory."""
        found = self._scan(self.descriptor)
        if self._content is None and found.get(_DATA) is EntryKind.LINK:
            self._content = self._open_content(found)
        if self._content is None:
            return {name: (kind, self.descriptor) for name, kind in found.items()}
        inside = self._scan(self._content)
        entries: dict[str, tuple[EntryKind, int]] = {}
        for name, kind in found.items():
            if _OF_THE_MOUNT.fullmatch(name):
                continue
            followed = kind is EntryKind.LINK and name in inside and self._link(name) == f"{_DATA}/{name}"
            entries[name] = (inside[name], self._content) if followed else (kind, self.descriptor)
        return entries

    def _open_content(self, found: Mapping[str, EntryKind]) -> int | None:
        """The sibling directory that `..data` names now; None if it names anything else."""
        target = self._link(_DATA)
        if not _OF_THE_MOUNT.fullmatch(target) or found.get(target) is not EntryKind.DIRECTORY:
            return None
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(target, flags, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None  # replaced by another process
        except OSError as error:
            raise _unreadable(self.path / target, error) from error

    def _scan(self, descriptor: int) -> dict[str, EntryKind]:
        try:
            with os.scandir(descriptor) as listing:
                return {entry.name: _kind(entry) for entry in listing}
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _link(self, name: str) -> str:
        """The target of a link; empty if it is no link any more."""
        try:
            return os.readlink(name, dir_fd=self.descriptor)
        except OSError:
            return ""

    def _wrong_kind(self, name: str, expected: str, kind: EntryKind) -> UnsafeFile:
        if kind is not EntryKind.LINK:
            return UnsafeFile(defect(self.path / name, expected=expected, got=kind.value, remedy=_COPY))
        target = self._link(name)
        remedy = _WHOLE_VOLUME if target == f"{_DATA}/{name}" else _COPY
        got = f"{kind.value} to {quoted(target)}"
        return UnsafeFile(defect(self.path / name, expected=expected, got=got, remedy=remedy))

    def read(self, name: str, *, ceiling_bytes: int, expected_bytes: int | None = None) -> bytes:
        """The whole content of a regular file directly in this directory (see `at`).

        Args:
            name: An entry of this directory.
            ceiling_bytes: Maximum number of bytes to read.
            expected_bytes: The size in the manifest, if there is one.

        Raises:
            MissingFile: No such entry.
            UnsafeFile: A link, a second hard link (see `at`), or no regular file.
            SizeMismatch: Above the ceiling, not the expected size, or it changed while it was read.
            UnreadableFile: The operating system refuses.
        """
        path = self.path / name
        kind, directory = self._look().get(name, (None, self.descriptor))
        if kind is None:
            raise MissingFile(defect(path, expected="a regular file", got="nothing", remedy=RESTORE))
        if kind not in (EntryKind.FILE, EntryKind.UNKNOWN):
            raise self._wrong_kind(name, "a regular file", kind)
        try:
            # O_NONBLOCK: if a pipe replaced the file, opening it must not block.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with _closing(os.open(name, flags, dir_fd=directory)) as descriptor:
                self._check_kind(os.fstat(descriptor), path)
                return _read_descriptor(descriptor, path, ceiling_bytes, expected_bytes)
        except OSError as error:
            raise _unreadable(path, error) from error

    def _check_kind(self, status: os.stat_result, path: Path) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFile(defect(path, expected="a regular file", got="something else", remedy=_COPY))
        if status.st_nlink != 1 and not self.hard_links:
            raise UnsafeFile(
                defect(
                    path, expected="a file with one name", got=f"{status.st_nlink} hard links", remedy=_COPY
                )
            )

    def close(self) -> None:
        """Close the descriptors; nothing was written through them, so an error has no consequence."""
        with suppress(OSError):
            os.close(self.descriptor)
        if self._content is not None:
            with suppress(OSError):
                os.close(self._content)

    def __enter__(self) -> OpenDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_entries(
    directory: OpenDirectory, required: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> list[MissingFile | ExtraFile]:
    """One error for each required file that is absent, and for each extra entry."""
    found = directory.entries()
    missing = [
        MissingFile(defect(directory.path / name, expected="a regular file", got="nothing", remedy=RESTORE))
        for name in required
        if name not in found
    ]
    extra = [
        ExtraFile(
            f"{directory.path}: expected only {', '.join(required)}, got also {quoted(name)} "
            f"({found[name].value}). Remove it: a published version never changes."
        )
        for name in sorted(set(found) - {*required, *optional})[:10]
    ]
    return [*missing, *extra]


def check_entry(data: bytes, entry: FileEntry, path: Path) -> None:
    """Compare the bytes with the manifest's size and digest.

    Raises:
        SizeMismatch: Another number of bytes.
        DigestMismatch: Another SHA-256; the message contains both digests.
    """
    if len(data) != entry.size_bytes:
        raise _wrong_size(path, entry.size_bytes, len(data))
    digest = sha256(data)
    if digest != entry.sha256:
        raise DigestMismatch(
            defect(
                path,
                expected=f"sha256 {entry.sha256} (manifest.json)",
                got=f"sha256 {digest}",
                remedy=RESTORE,
            )
        )


def seal(data: bytes) -> bytes:
    """The bytes of a manifest with their own digest in place of the zeros of `manifest_sha256`.

    Raises:
        ValueError: The key does not occur exactly once.
    """
    unsealed, _ = _unsealed(data)
    return _SEAL.sub(lambda found: found[1] + sha256(unsealed).encode() + b'"', unsealed)


def check_seal(data: bytes, path: object) -> None:
    """Compare a manifest's bytes with their own digest.

    Raises:
        DigestMismatch: Some byte differs from the published one; the message contains both digests.
        InvalidManifest: The key `manifest_sha256` does not occur exactly once.
    """
    try:
        unsealed, stated = _unsealed(data)
    except ValueError as error:
        raise InvalidManifest(
            defect(path, expected="its own digest", got=str(error), remedy=RESTORE)
        ) from error
    digest = sha256(unsealed)
    if digest != stated:
        raise DigestMismatch(
            defect(
                path,
                expected=f"sha256 {stated} (its own manifest_sha256)",
                got=f"sha256 {digest}",
                remedy=RESTORE,
            )
        )


def _unsealed(data: bytes) -> tuple[bytes, str]:
    """The bytes with zeros for their digest, and the original digest."""
    stated = _SEAL.findall(data)
    if len(stated) != 1:
        raise ValueError(f"the key manifest_sha256 {len(stated)} times instead of once")
    return _SEAL.sub(lambda found: found[1] + UNSEALED.encode() + b'"', data), stated[0][1].decode()


def sha256(data: bytes) -> str:
    """Lower-case hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def file_entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The manifest's entry for each file."""
    return {name: FileEntry(sha256=sha256(data), size_bytes=len(data)) for name, data in files.items()}


def _wrong_size(path: Path, expected_bytes: int, got_bytes: int) -> SizeMismatch:
    return SizeMismatch(
        defect(
            path, expected=f"{expected_bytes} bytes (manifest.json)", got=f"{got_bytes} bytes", remedy=RESTORE
        )
    )


def _kind(entry: os.DirEntry[str]) -> EntryKind:
    try:
        if entry.is_symlink():
            return EntryKind.LINK
        if entry.is_dir(follow_symlinks=False):
            return EntryKind.DIRECTORY
        return EntryKind.FILE if entry.is_file(follow_symlinks=False) else EntryKind.OTHER
    except OSError:
        # Some file systems list no kinds. Then one bad entry must not hide the others.
        return EntryKind.UNKNOWN


def _read_descriptor(descriptor: int, path: Path, ceiling_bytes: int, expected_bytes: int | None) -> bytes:
    status = os.fstat(descriptor)
    if status.st_size > ceiling_bytes:
        raise SizeMismatch(
            defect(
                path,
                expected=f"at most {ceiling_bytes} bytes",
                got=f"{status.st_size} bytes",
                remedy=RESTORE,
            )
        )
    if expected_bytes is not None and status.st_size != expected_bytes:
        raise _wrong_size(path, expected_bytes, status.st_size)
    chunks: list[bytes] = []
    left = status.st_size + 1
    while left > 0:
        chunk = os.read(descriptor, min(left, _READ_CHUNK_BYTES))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
    raise SizeMismatch(
        defect(path, expected=f"{status.st_size} bytes", got="a file that grew while read", remedy=RESTORE)
    )


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    kind = NotPermitted if error.errno in (errno.EACCES, errno.EPERM) else UnreadableFile
    return kind(
        f"{path}: expected a readable path, got {error.strerror} (errno {error.errno}). Check the path, its "
        "owner and permissions, and the disk."
    )
