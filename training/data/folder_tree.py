"""Every file and folder below a folder, links included, and everything unreadable.

Knows directories, links, permissions and the files of a run directory. Knows nothing of images, parts or
classes. It skips hidden entries and those that systems create in folders.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DataError

#: Created by archives from a Mac, by file servers (with thumbnails of every image) and by file systems.
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
#: Every run directory of `vae-train fit` contains both.
_OF_A_RUN = frozenset({"config.json", "provenance.json"})


@dataclass
class FolderTree:
    """Paths relative to the root, with `/` between folders, each list sorted."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Unreadable entries, and the reasons."""
    odd: list[str] = field(default_factory=list)
    """Neither files nor folders: pipes and the like, which would block for ever when opened."""
    runs: list[str] = field(default_factory=list)
    """Run directories, which are skipped with their contents."""
    repeated: list[str] = field(default_factory=list)
    """Links to folders that are in the tree anyway, or that contain it; skipped."""
    followed: list[str] = field(default_factory=list)
    """Links to folders elsewhere, whose files are in the tree."""


def scan(root: Path) -> FolderTree:
    """List everything below a folder.

    Raises:
        DataError: The folder itself is unreadable, or is a run directory.
    """
    tree = FolderTree()
    seen = {_identity(folder) for folder in root.resolve().parents}
    links: list[str] = []
    _visit(root, "", tree, seen, links)
    if "" in tree.unreadable:
        raise DataError(
            f"{root}: expected a readable folder, got {tree.unreadable['']}. Change its permissions."
        )
    if "" in tree.runs:
        raise DataError(
            f"{root}: expected images, got a run directory of `vae-train fit`. Name the folder of its "
            "training images."
        )
    # After all real folders: a link to one of them must not take its place.
    while links:
        link = links.pop(0)
        if _identity(root / link) in seen:
            tree.repeated.append(link)
            continue
        tree.followed.append(link)
        _visit(root, link, tree, seen, links)
    for paths in (tree.files, tree.folders, tree.odd, tree.runs, tree.repeated, tree.followed):
        paths.sort()
    return tree


def _visit(root: Path, here: str, tree: FolderTree, seen: set[tuple[int, int]], links: list[str]) -> None:
    """Add a folder and its subfolders to the tree; links to folders go to `links`."""
    try:
        identity = _identity(root / here)
        if identity in seen:
            tree.repeated.append(here)
            return
        seen.add(identity)
        with os.scandir(root / here) as scanned:
            entries = sorted((entry for entry in scanned if _counts(entry.name)), key=lambda e: e.name)
    except OSError as error:
        tree.unreadable[here] = f"unreadable folder: {error.strerror}"
        return
    if {entry.name for entry in entries} >= _OF_A_RUN:
        tree.runs.append(here)
        return
    if here:
        tree.folders.append(here)
    for entry in entries:
        path = f"{here}/{entry.name}" if here else entry.name
        if entry.is_file(follow_symlinks=False):
            tree.files.append(path)
        elif entry.is_dir(follow_symlinks=False):
            _visit(root, path, tree, seen, links)
        else:
            _look_at_link(root, path, tree, links)


def _look_at_link(root: Path, path: str, tree: FolderTree, links: list[str]) -> None:
    """Add a link, or an unusual entry."""
    target = root / path
    try:
        target.stat()
    except OSError as error:
        what = f"a link to {target.readlink()}, " if target.is_symlink() else ""
        tree.unreadable[path] = f"{what}{error.strerror}"
        return
    if target.is_dir():
        links.append(path)
    elif target.is_file():
        tree.files.append(path)
    else:
        tree.odd.append(path)


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _OF_SYSTEMS
