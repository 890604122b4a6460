"""What files look like from outside, without reading them.

Knows names, sizes and times of the last change. Knows nothing of what the files mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: Path, size in bytes, time of the last change in nanoseconds and inode of each file; -1 for what cannot be
#: read, so that becoming readable is a change too.
Files = frozenset[tuple[str, int, int, int]]


def look_at(root: Path, *, depth: int) -> Files:
    """What lies in a directory, and in the directories in it down to `depth`.

    Files rather than names, so that one that is put back, or the end of a copy that was caught half way,
    counts as a change. An entry that cannot be read hides no other. Names that begin with a dot are locks,
    and versions that are still being written.
    """
    return frozenset(_walk(root, depth))


def _walk(directory: Path, depth: int) -> Iterator[tuple[str, int, int, int]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield from _look_at_entry(entry, depth)
    except OSError:
        yield str(directory), -1, -1, -1


def _look_at_entry(entry: os.DirEntry[str], depth: int) -> Iterator[tuple[str, int, int, int]]:
    try:
        status = entry.stat(follow_symlinks=False)
        inside = depth > 1 and entry.is_dir(follow_symlinks=False)
    except OSError:
        yield entry.path, -1, -1, -1
        return
    yield entry.path, status.st_size, status.st_mtime_ns, status.st_ino
    if inside:
        yield from _walk(Path(entry.path), depth - 1)
