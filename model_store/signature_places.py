"""Where the signature of a version is: in the directory of its model, or next to a version mounted alone.

Knows paths and how to read a file safely. Knows nothing of the content of a signature.

    store/mnist/5/        the version            /mnt/models/        the version, mounted alone
    store/mnist/5.sig     its signature          /mnt/models.sig     its signature
"""

from __future__ import annotations

import os
from pathlib import Path

from model_store.integrity import OpenDirectory
from model_store.signature import MAX_SIGNATURE_BYTES


def places_beside(directory: Path) -> tuple[Path, ...]:
    """Possible signatures of a version that is mounted alone: `<directory>.sig`, the usual place first.

    If the path leads to the directory through a link, the signature may be next to the link or next to the
    directory. Below its model, a version has its number as name, so this is the place that a store has.

    Args:
        directory: The version, as the operator named it.
    """
    real = Path(os.path.realpath(directory))
    named = Path(os.path.abspath(directory))  # noqa: PTH100  (`resolve` would follow the link)
    return tuple(dict.fromkeys(path.with_name(f"{path.name}.sig") for path in (named, real) if path.name))


def read_beside(directory: Path, *, hard_links: bool = False) -> tuple[Path, bytes | None]:
    """The place of the signature of a version that is mounted alone, and its content, unchecked.

    Args:
        directory: The version, as the operator named it.
        hard_links: As of `OpenDirectory.at`.

    Returns:
        None for the content if there is no signature; the place is then the usual one.

    Raises:
        UnsafeFile, SizeMismatch, UnreadableFile: As for any file.
    """
    places = places_beside(directory)
    for place in places:
        with OpenDirectory.at(place.parent, hard_links=hard_links) as parent:
            if place.name in parent.entries():
                return place, parent.read(place.name, ceiling_bytes=MAX_SIGNATURE_BYTES)
    return (places or (directory / "signature",))[0], None
