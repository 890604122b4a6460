"""Names that were taken out of service, until they are loaded again.

Knows names and, for several workers, a directory that they share. Knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path


class UnloadedNames:
    """A set of names. May be called from any thread."""

    def __init__(self, directory: Path | None = None) -> None:
        """Empty at first.

        Args:
            directory: For one of several workers: each name is a file in it. It need not exist.
        """
        self._directory = directory
        self._names: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The names, as of the last change by this process or the last `refresh`."""
        return self._names

    def add(self, name: str) -> None:
        """Add a name that the store has."""
        if self._directory is not None:
            self._directory.mkdir(exist_ok=True)
            (self._directory / name).touch()
        self._names |= {name}

    def remove(self, name: str) -> None:
        """Remove a name."""
        if name in self._names and self._directory is not None:
            (self._directory / name).unlink(missing_ok=True)
        self._names -= {name}

    def refresh(self) -> None:
        """Take over the changes of the other workers."""
        if self._directory is not None:
            found = self._directory.iterdir() if self._directory.is_dir() else ()
            self._names = frozenset(path.name for path in found)
