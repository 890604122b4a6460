"""The directory for the shared metrics of several workers: in memory if possible, else on a disk.

Knows directories, locks and free space. Knows nothing of metrics.

The files are mapped into memory. A full file system ends a worker with SIGBUS, and a slow disk delays it. So
/dev/shm comes first, and a directory with too little room is rejected. A supervisor that is killed leaves its
directory behind, and /dev/shm of a pod survives the container. So each start removes the directories whose
lock is free, because their supervisor is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

#: The operator's variable for the directory; prometheus_client reads the same variable in every worker.
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
#: Seven files of 64 KiB each, and as much again for many models.
BYTES_PER_WORKER: Final = 1024 * 1024
_PREFIX: Final = "vae-serve-metrics-"
_LOCK: Final = "lock"
#: A directory without a lock after this time has no owner.
_ABANDONED_S: Final = 60.0
_MEMORY: Final = "/dev/shm"  # noqa: S108  (a directory of our own is made in it)


class NoDirectoryError(Exception):
    """No directory is usable; the message lists the directories that were tried, and the remedy."""


@contextlib.contextmanager
def shared_directory(
    workers: int, *, environ: Mapping[str, str] = os.environ, memory: str = _MEMORY
) -> Iterator[Path]:
    """Create a directory for this process, and remove it at the end.

    Args:
        workers: Number of processes that write into it.
        environ: May contain `PROMETHEUS_MULTIPROC_DIR` and `TMPDIR`.
        memory: A file system in memory.

    Raises:
        NoDirectoryError: No directory is writable with enough room.
    """
    refused: list[str] = []
    for parent in _candidates(environ, memory):
        try:
            made = _make(parent, need_bytes=workers * BYTES_PER_WORKER)
        except OSError as error:
            refused.append(f"{parent}: {error.strerror or error}")
            continue
        break
    else:
        raise NoDirectoryError(
            f"--workers {workers}: the workers share their metrics through files, and no directory can hold "
            f"them ({'; '.join(refused)}). Mount a writable /dev/shm or /tmp of {workers} MiB, name a "
            f"writable directory ({VARIABLE} or TMPDIR), or use --workers 1, which writes no files."
        )
    with (made / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _candidates(environ: Mapping[str, str], memory: str) -> Sequence[str]:
    """The named directory alone, or else memory and then Python's directories for temporary files."""
    named = environ.get(VARIABLE)
    if named:
        return [named]
    chosen = environ.get("TMPDIR")
    return [*([chosen] if chosen else []), memory, "/tmp", "/var/tmp"]  # noqa: S108


def _make(parent: str, *, need_bytes: int) -> Path:
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    _sweep(Path(parent), but=made)
    found = os.statvfs(made)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < need_bytes:
        made.rmdir()
        raise OSError(f"{free_bytes} bytes free, {need_bytes} needed")
    return made


def _sweep(parent: Path, *, but: Path) -> None:
    """Remove the directories of supervisors that are gone."""
    for path in parent.glob(f"{_PREFIX}*"):
        if path != but:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    try:
        # Never opened through a link: other users may write into the same parent.
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - path.lstat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(lock)
