"""What lies where in a store: `<root>/<name>/<version>/` and `<root>/<name>/aliases.json`.

Knows which entries are models and versions and how to look one up. Knows nothing of what a version contains.
A name is compared with what listing the directory returned; it is never joined into a path.
"""

from __future__ import annotations

from model_store.aliases import ALIASES_FILE, AliasTable
from model_store.integrity import EntryKind, OpenDirectory, SizeLimits
from model_store.reference import is_model_name, version_number

#: What may be a model or a version; opening it decides.
_DIRECTORIES = (EntryKind.DIRECTORY, EntryKind.UNKNOWN)


def model_entries(root: OpenDirectory) -> tuple[str, ...]:
    """Whatever is named like a model, in alphabetical order; opening it says whether it is one."""
    return tuple(sorted(filter(is_model_name, root.entries())))


def model_names(root: OpenDirectory) -> tuple[str, ...]:
    """Directories that may be models, in alphabetical order; links and other names are none."""
    entries = root.entries()
    return tuple(
        sorted(name for name, kind in entries.items() if kind in _DIRECTORIES and is_model_name(name))
    )


def version_numbers(model: OpenDirectory) -> tuple[int, ...]:
    """Directories named by a version's one spelling, ascending."""
    return tuple(sorted(n for n, kind in _numbered(model).items() if kind in _DIRECTORIES))


def stray_numbers(model: OpenDirectory) -> dict[int, EntryKind]:
    """Entries that are named like a version and are no directory, links to one included."""
    return {n: kind for n, kind in sorted(_numbered(model).items()) if kind not in _DIRECTORIES}


def highest_number(model: OpenDirectory) -> int:
    """The highest number that is taken, by whatever; 0 when none is."""
    return max(_numbered(model), default=0)


def read_aliases(model: OpenDirectory, limits: SizeLimits) -> AliasTable:
    """The alias table; empty where there is no file.

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
