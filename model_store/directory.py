"""The layout of a store: `<root>/<name>/<version>/` and `<root>/<name>/aliases.json`.

Knows which entries are models and versions, and how to find one. Knows nothing of the contents of a version.
A name is compared with the listing of the directory, and never joined into a path.
"""

from __future__ import annotations

from model_store.aliases import ALIASES_FILE, AliasTable
from model_store.integrity import EntryKind, OpenDirectory, SizeLimits
from model_store.reference import is_model_name, version_number

#: Possible models or versions; opening one decides.
_DIRECTORIES = (EntryKind.DIRECTORY, EntryKind.UNKNOWN)


def model_entries(root: OpenDirectory) -> tuple[str, ...]:
    """Entries with the name of a model, in alphabetical order; opening one shows whether it is a model."""
    return tuple(sorted(filter(is_model_name, root.entries())))


def model_names(root: OpenDirectory) -> tuple[str, ...]:
    """Directories that may be models, in alphabetical order, without links and other names."""
    entries = root.entries()
    return tuple(
        sorted(name for name, kind in entries.items() if kind in _DIRECTORIES and is_model_name(name))
    )


def version_numbers(model: OpenDirectory) -> tuple[int, ...]:
    """Directories with the name of a version in its only spelling, ascending."""
    return tuple(sorted(n for n, kind in _numbered(model).items() if kind in _DIRECTORIES))


def stray_numbers(model: OpenDirectory) -> dict[int, EntryKind]:
    """Entries with the name of a version that are no directories, including links to one."""
    return {n: kind for n, kind in sorted(_numbered(model).items()) if kind not in _DIRECTORIES}


def highest_number(model: OpenDirectory) -> int:
    """The highest number in use by any entry; 0 if there is none."""
    return max(_numbered(model), default=0)


def read_aliases(model: OpenDirectory, limits: SizeLimits) -> AliasTable:
    """The alias table; empty if there is no file.

    Raises:
        CorruptAliases: The file is not such a table.
        UnsafeFile, SizeMismatch, UnreadableFile: As for any file.
    """
    if ALIASES_FILE not in model.entries():
        return AliasTable()
    data = model.read(ALIASES_FILE, ceiling_bytes=limits.aliases_bytes)
    return AliasTable.from_bytes(data, where=str(model.path / ALIASES_FILE))


def _numbered(model: OpenDirectory) -> dict[int, EntryKind]:
    spelled = {version_number(name): kind for name, kind in model.entries().items()}
    return {number: kind for number, kind in spelled.items() if number is not None}
