"""A store whose directory may also be that of one model, or of one version.

Knows the three layouts. Knows nothing of changes: only a whole store can be changed.

    root/                 root/                    root/
      mnist/                5/                       manifest.json
        5/                    manifest.json …        encoder.onnx …
          manifest.json …   5.sig                  root.sig
        5.sig               aliases.json
        aliases.json
    a store               a model                  a version

Copies of object storage have these layouts: KServe copies `s3://bucket/store`, `…/store/mnist/` or
`…/store/mnist/5/` to /mnt/models, whatever the address is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from model_store.directory import version_numbers
from model_store.errors import CorruptVersion, StoreWriteFailed, UnreadableFile
from model_store.integrity import EntryKind, OpenDirectory
from model_store.reference import is_model_name, version_number
from model_store.signature_places import read_beside
from model_store.store import ModelStore
from model_store.strict_json import parse_object
from model_store.version_files import MANIFEST_FILE, REQUIRED_FILES
from model_store.version_id import VersionId

#: Name of a model whose manifests and directory name none, and the number of such a version.
_ANY_NAME, _ANY_NUMBER = "model", 1


class _Single(NamedTuple):
    """The only model below a root, and its only version if the root is that."""

    name: str
    version: int | None


class MountedStore(ModelStore):
    """A store for reading, in any of the three layouts. The layout is determined at each call.

    A single model has the name in its manifests. If they cannot be read, it has the name of the directory, so
    that an error can name it.
    """

    def single_model(self) -> str | None:
        """Name of the model if the directory is that of one model or one version; None for a whole store.

        Raises:
            UnreadableFile: The root cannot be read.
        """
        single = self._single_now()
        return None if single is None else single.name

    def path_of(self, identity: VersionId) -> Path:
        """The directory of a version, whether it exists or not."""
        single = None
        with suppress(UnreadableFile):
            single = self._single_now()
        if single is None or single.name != identity.name:
            return super().path_of(identity)
        return self.root if single.version == identity.version else self.root / str(identity.version)

    def _root(self) -> OpenDirectory:
        directory = super()._root()
        try:
            single = self._single(directory)
        except BaseException:
            directory.close()
            raise
        if single is None:
            return directory
        if single.version is not None:
            directory = _Parent(directory, str(single.version))
        return _Parent(directory, single.name)

    def _signature(self, model: OpenDirectory, identity: VersionId) -> tuple[Path, bytes | None]:
        if isinstance(model, _Parent):  # the root is the version, so its signature is outside of it
            return read_beside(self.root, hard_links=model.hard_links)
        return super()._signature(model, identity)

    def _make_writable(self) -> None:
        single = self.single_model()
        if single is not None:
            raise StoreWriteFailed(
                f"{self.root}: expected a store, got the directory of the model '{single}' or of a version "
                "of it, which is for reading. Name the store that contains the model.",
                path=str(self.root),
            )

    def _single_now(self) -> _Single | None:
        try:
            with super()._root() as directory:
                return self._single(directory)
        except FileNotFoundError:
            return None

    def _single(self, directory: OpenDirectory) -> _Single | None:
        entries = directory.entries()
        if MANIFEST_FILE in entries and any(file in entries for file in REQUIRED_FILES):
            return self._stated(directory) or _Single(self._name_of_directory(), _ANY_NUMBER)
        found = False
        for number in reversed(version_numbers(directory)):
            with suppress(FileNotFoundError, CorruptVersion), directory.subdirectory(str(number)) as version:
                if MANIFEST_FILE not in version.entries():
                    continue
                found = True
                if stated := self._stated(version):
                    return _Single(stated.name, None)
        return _Single(self._name_of_directory(), None) if found else None

    def _stated(self, version: OpenDirectory) -> _Single | None:
        """Name and number in the manifest, unverified: opening the version verifies it."""
        try:
            stated = parse_object(version.read(MANIFEST_FILE, ceiling_bytes=self.limits.manifest_bytes))
        except (CorruptVersion, ValueError, RecursionError):
            return None
        name, number = stated.get("name"), stated.get("version")
        if isinstance(name, str) and is_model_name(name) and version_number(str(number)) is not None:
            return _Single(name, int(str(number)))
        return None

    def _name_of_directory(self) -> str:
        return self.root.name if is_model_name(self.root.name) else _ANY_NAME


class _Parent(OpenDirectory):
    """The missing directory above another one: its only entry is that one."""

    def __init__(self, child: OpenDirectory, name: str) -> None:
        super().__init__(child.descriptor, child.path, hard_links=child.hard_links)
        self._child = child
        self._name = name

    def subdirectory(self, name: str) -> OpenDirectory:
        if name != self._name:
            raise FileNotFoundError(self.path / name)
        return _copy(self._child)

    def close(self) -> None:
        self._child.close()

    def _look(self) -> dict[str, tuple[EntryKind, int]]:
        return {self._name: (EntryKind.DIRECTORY, self.descriptor)}


def _copy(directory: OpenDirectory) -> OpenDirectory:
    """The same directory with a descriptor of its own."""
    if isinstance(directory, _Parent):
        return _Parent(_copy(directory._child), directory._name)
    return OpenDirectory(os.dup(directory.descriptor), directory.path, hard_links=directory.hard_links)
