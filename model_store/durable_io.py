"""Durable writes and their locks: after a power cut, a write is either complete or absent.

Knows descriptors, fsync, rename and flock. Knows nothing of models. Every failure of the operating system
becomes `StoreWriteFailed` with its path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.errors import StoreLocked, StoreWriteFailed
from model_store.integrity import OpenDirectory

#: Prefix of every unfinished entry; no model, version or alias can begin with it.
TEMPORARY_PREFIX = ".tmp-"
#: Held exclusively by any process that numbers a version or moves an alias.
LOCK_FILE = ".lock"
#: Held shared by every publisher during the life of its temporary directory, exclusively by the collector.
PUBLISHERS_FILE = ".publishers"
#: Longest wait for a lock, on the monotonic clock. The kernel frees the lock of a killed process at once.
LOCK_TIMEOUT_S = 60.0

_LOCK_POLL_S = 0.005
_REMEDIES = {
    errno.ENOSPC: "Free space on that disk (vae-store gc --keep 3 removes old versions) and try again.",
    errno.EDQUOT: "Free space within the quota (vae-store gc --keep 3 removes old versions) and try again.",
    errno.EFBIG: "The file is above this process's limit on file sizes: raise it (ulimit -f) and try again.",
    errno.EROFS: "The file system is read-only: point --store or VAE_MODEL_STORE to a writable directory.",
    errno.EACCES: (
        "Point --store or VAE_MODEL_STORE to a directory that this user may write, or change its owner."
    ),
    errno.EPERM: (
        "Point --store or VAE_MODEL_STORE to a directory that this user may write, or change its owner."
    ),
    errno.EIO: "The disk reports an error: check it (dmesg, smartctl) before trying again.",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into `StoreWriteFailed` with this path and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the path, its owner and permissions, and the disk.")
        raise StoreWriteFailed(
            f"{path}: expected a writable path, got {error.strerror} (errno {error.errno}). {remedy}",
            errno=error.errno,
            path=str(path),
        ) from error


def temporary_name() -> str:
    """A unique name: the process id for people, a random part for uniqueness."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"


def make_root(root: Path) -> None:
    """Create a store's directory and its missing parents, each durably."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    for path in reversed(missing):
        with writing(path):
            path.mkdir(exist_ok=True)
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def make_directory(parent: OpenDirectory, name: str) -> bool:
    """Create a directory; return False if it exists already."""
    with writing(parent.path / name):
        try:
            os.mkdir(name, 0o755, dir_fd=parent.descriptor)
        except FileExistsError:
            return False
    return True


def write_file(directory: OpenDirectory, name: str, data: bytes) -> None:
    """Create a new file with this content, and flush it to the disk."""
    with writing(directory.path / name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o644, dir_fd=directory.descriptor)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_directory(directory: OpenDirectory) -> None:
    """Flush the directory's entries to the disk."""
    with writing(directory.path):
        os.fsync(directory.descriptor)


def rename(directory: OpenDirectory, source: str, target: str) -> None:
    """Rename within one directory; a file replaces a file, and a directory only an empty one.

    Raises:
        FileExistsError: The target is a directory with content, or the source is a directory and the target
            none.
        StoreWriteFailed: Any other error of the operating system.
    """
    with writing(directory.path / target):
        try:
            os.rename(source, target, src_dir_fd=directory.descriptor, dst_dir_fd=directory.descriptor)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            taken = error
    raise FileExistsError(taken.errno, taken.strerror, str(directory.path / target))


def replace_file(directory: OpenDirectory, name: str, data: bytes) -> None:
    """Write a file as a whole: readers find the earlier content or this one."""
    temporary = temporary_name()
    try:
        write_file(directory, temporary, data)
        rename(directory, temporary, name)
        sync_directory(directory)
    finally:
        remove(directory, temporary)


def remove(directory: OpenDirectory, name: str) -> bool:
    """Remove a file or a directory tree; return False if it was absent or could not be removed completely."""
    try:
        os.unlink(name, dir_fd=directory.descriptor)
    except FileNotFoundError:
        return False
    except OSError:
        # A directory; rmtree by descriptor follows no link.
        try:
            shutil.rmtree(name, dir_fd=directory.descriptor)
        except OSError:
            return False
    return True


def remove_if_empty(directory: OpenDirectory, name: str) -> None:
    """Remove an empty directory; leave any other unchanged."""
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=directory.descriptor)


@contextmanager
def lock(
    root: OpenDirectory, name: str, *, shared: bool = False, wait_s: float = LOCK_TIMEOUT_S
) -> Iterator[None]:
    """Hold a lock file of the store, against other threads and other processes alike.

    Raises:
        StoreLocked: It was not obtained in `wait_s` seconds.
        StoreWriteFailed: The file cannot be created.
    """
    path = root.path / name
    with writing(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o644, dir_fd=root.descriptor)
    try:
        _acquire(descriptor, path, shared=shared, wait_s=wait_s)
        yield
    finally:
        # Closing frees the lock; an error of close() on a file without writes has no consequence.
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _acquire(descriptor: int, path: Path, *, shared: bool, wait_s: float) -> None:
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    deadline = time.monotonic() + wait_s
    while True:
        with writing(path):
            try:
                fcntl.flock(descriptor, operation)
                return
            except BlockingIOError:
                pass
        if time.monotonic() >= deadline:
            raise StoreLocked(
                f"{path}: expected the lock within {wait_s:g} s, but another process holds it. Let the "
                "other publisher finish, or end it; its lock ends with it.",
                path=str(path),
            )
        time.sleep(_LOCK_POLL_S)
