"""Every file and folder below a folder, links followed, with all that could not be looked at.

Knows directories, links, permissions and what a run directory holds. Knows nothing of pictures, parts or
classes. Hidden entries and those that systems put into folders of their own accord are left alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DataError

#: Put there by archives from a Mac, by file servers (with thumbnails of every picture) and by file systems.
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
#: Both are in every run directory that `vae-train fit` started.
_OF_A_RUN = frozenset({"config.json", "provenance.json"})


@dataclass
class FolderTree:
    """Paths relative to the root, with `/` between folders, each list sorted."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """What could not be looked at, and why."""
    odd: list[str] = field(default_factory=list)
    """Neither files nor folders: pipes and the like, which would wait for ever when opened."""
    runs: list[str] = field(default_factory=list)
    """Run directories, left out with all that is in them."""
    repeated: list[str] = field(default_factory=list)
    """Links to folders that belong to the tree anyway, or that hold it; left out."""
    followed: list[str] = field(default_factory=list)
    """Links to folders elsewhere, whose files are in the tree."""


def scan(root: Path) -> FolderTree:
    """Look at everything below a folder.

    Raises:
        DataError: The folder itself cannot be looked into, or is a run directory.
    """
    tree = FolderTree()
    seen = {_identity(folder) for folder in root.resolve().parents}
    links: list[str] = []
    _visit(root, "", tree, seen, links)
    if "" in tree.unreadable:
        raise DataError(
            f"{root}: expected a folder that can be read, got {tree.unreadable['']}. Give yourself the right "
            "to read it."
        )
    if "" in tree.runs:
        raise DataError(
            f"{root}: expected images, got a run directory of `vae-train fit`. Name the images it was "
            "trained on."
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
    """Put a folder, and the folders in it, into the tree; links to folders go to `links`."""
    try:
        identity = _identity(root / here)
        if identity in seen:
            tree.repeated.append(here)
            return
        seen.add(identity)
        with os.scandir(root / here) as scanned:
            entries = sorted((entry for entry in scanned if _counts(entry.name)), key=lambda e: e.name)
    except OSError as error:
        tree.unreadable[here] = f"a folder that cannot be read: {error.strerror}"
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
    """A link, or something odd."""
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
