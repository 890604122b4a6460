"""Directories as Kubernetes mounts ConfigMaps, Secrets and projected volumes.

Knows the steps of kubelet's atomic writer: a new directory, one rename of `..data`, links for new names, the
old directory removed. Knows nothing of stores.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def mount(volume: Path, content: Path, *, stamp: str = "..2026_01_01_00_00_00.1") -> None:
    """Make `content` what the volume holds; once more with another stamp to update it.

    Args:
        volume: Where it is mounted.
        content: A directory whose entries are copied.
        stamp: Name of the directory that holds the copies.
    """
    volume.mkdir(parents=True, exist_ok=True)
    data = volume / "..data"
    before = data.readlink() if data.is_symlink() else None
    shutil.copytree(content, volume / stamp)
    (volume / "..data_tmp").symlink_to(stamp)
    (volume / "..data_tmp").rename(data)
    wanted = {path.name for path in content.iterdir() if not path.name.startswith(".")}
    for name in wanted:
        link = volume / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    for path in volume.iterdir():
        if path.is_symlink() and not path.name.startswith("..") and path.name not in wanted:
            path.unlink()
    if before is not None:
        shutil.rmtree(volume / before)
