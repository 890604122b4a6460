"""A snapshot of a directory: the names, sizes and times of its files, without their content.

Knows links that stay below a root. Knows nothing of what the files mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

#: Path, size in bytes, time of the last change in nanoseconds and inode of a file; -1 if the file cannot be
#: read, so that becoming readable is a change too.
_Seen = tuple[str, int, int, int]
StoreSnapshot = frozenset[_Seen]


def take_snapshot(directory: Path, *, root: Path, depth: int) -> StoreSnapshot:
    """The files of a directory, and of its subdirectories down to `depth`.

    Files rather than names, so that a file that is replaced, or the end of an unfinished copy, counts as a
    change. An entry that cannot be read hides no other. Names that begin with a dot are skipped: they are
    locks, and versions that are still being written. A link counts as its target, because mounted volumes
    change by leading elsewhere (`model_store.integrity`); a link that leads out of `root` is not followed.
    """
    inside = os.path.realpath(root)
    if not _is_below(os.path.realpath(directory), inside):
        return frozenset({(str(directory), -1, -1, -1)})
    return frozenset(_walk(str(directory), inside, depth))


def take_file_snapshot(file: Path) -> StoreSnapshot:
    """One file as in `take_snapshot`; empty if it does not exist or cannot be looked at."""
    try:
        status = file.stat()
    except OSError:
        return frozenset()
    return frozenset({(str(file), status.st_size, status.st_mtime_ns, status.st_ino)})


def _walk(directory: str, root: str, depth: int) -> Iterator[_Seen]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield from _snapshot_entry(entry, root, depth)
    except OSError:
        yield directory, -1, -1, -1


def _snapshot_entry(entry: os.DirEntry[str], root: str, depth: int) -> Iterator[_Seen]:
    try:
        follow = entry.is_symlink() and _is_below(os.path.realpath(entry.path), root)
        status = entry.stat(follow_symlinks=follow)
    except OSError:
        yield entry.path, -1, -1, -1
        return
    yield entry.path, status.st_size, status.st_mtime_ns, status.st_ino
    if depth > 1 and stat.S_ISDIR(status.st_mode):
        yield from _walk(entry.path, root, depth - 1)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}{os.sep}")
