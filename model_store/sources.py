"""The origin of versions to add: the bundled store, another store, one version's directory, or an address.

Knows how a person writes an origin, and which versions that selects. Knows nothing of copying.

    bundled                        every version in the package
    bundled/mnist@5                one of them; the same works for each store below
    /other/store                   every version of another store
    /other/store/mnist             one model
    /other/store/mnist@5           one version, or @stable
    /other/store/mnist/5           the same, or any directory with the files of one version
    s3://bucket/prefix[/mnist@5]   a store on object storage
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_store import location
from model_store.aliases import AliasTable
from model_store.errors import InvalidReference, ModelNotFound, StoreError, UnreadableFile, quoted
from model_store.integrity import OpenDirectory, SizeLimits
from model_store.location import BUNDLED
from model_store.reading import ReadableStore
from model_store.reference import ModelReference, is_model_name, version_number
from model_store.signature_places import read_beside
from model_store.verification import parse_manifest
from model_store.version_files import MANIFEST_FILE
from model_store.version_id import VersionId

#: Copies a store with an address, or only one model of it, to a directory of its own while it is open.
Fetch = Callable[[str, ModelReference | None], AbstractContextManager[Path]]

_FORMS = (
    f"Write {BUNDLED}, a store's directory, STORE/NAME, STORE/NAME@VERSION, a version's directory, or an "
    "address such as s3://bucket/prefix."
)


@dataclass(frozen=True)
class Source:
    """Versions to add, and where they are."""

    label: str
    """The origin, for messages and the record."""
    versions: tuple[VersionId, ...]
    """The selected ones, ascending for each model."""
    whole: frozenset[str]
    """Models whose versions are all selected."""
    store: ReadableStore | None = None
    """Their store; None for one version's directory."""
    path: Path | None = None
    """One version's directory."""

    @contextmanager
    def directory(self, identity: VersionId) -> Iterator[OpenDirectory]:
        """The open directory of a selected version."""
        if self.store is not None:
            with self.store.directory(identity) as directory:
                yield directory
        else:
            assert self.path is not None
            # Hard links are harmless here: the copy is verified.
            with OpenDirectory.at(self.path, hard_links=True) as directory:
                yield directory

    def signature(self, identity: VersionId) -> bytes | None:
        """The signature of a selected version, unchecked; None without one."""
        if self.store is not None:
            return self.store.signature(identity)
        assert self.path is not None
        return read_beside(self.path, hard_links=True)[1]

    def aliases(self, name: str) -> AliasTable:
        """The aliases of a model in its store; none for one version's directory."""
        return AliasTable() if self.store is None else self.store.alias_table(name)

    def version_of(self, name: str, alias: str) -> int:
        """The selected version that an alias names in the source, or else that the bare name means there."""
        selected = [identity.version for identity in self.versions if identity.name == name]
        if name not in self.whole or self.store is None:
            return selected[-1]
        targets = self.store.aliases(name)
        return targets.get(alias) or self.store.resolve(name, aliases=targets).version


@contextmanager
def open_source(text: str, *, fetch: Fetch | None, limits: SizeLimits) -> Iterator[Source]:
    """The source that a person wrote.

    Args:
        text: See the table at the top of this module.
        fetch: Copies a store with an address; None if this program has no library for it.
        limits: Ceilings in bytes for each file.

    Raises:
        InvalidReference: The text has none of the forms.
        ModelNotFound: There is no such store, model, version or alias.
        CorruptVersion: It cannot be read.
    """
    if "://" in text:
        address, reference = _split_address(text)
        if fetch is None:
            raise InvalidReference(
                "source: expected a directory, got an address, which needs the command 'vae-store' of an "
                "installed package. Install the extra: pip install 'vae-service[s3]'."
            )
        with fetch(address, reference) as copy:
            yield _of_store(text, ReadableStore(copy, limits=limits), reference)
        return
    if text == BUNDLED or text.startswith(f"{BUNDLED}/"):
        store = ReadableStore(location.BUNDLED_STORE, limits=limits)
        yield _of_store(text, store, _reference(text.removeprefix(BUNDLED).strip("/")))
        return
    try:
        found = _local(text, limits)
    except OSError as error:
        raise UnreadableFile(
            f"source: {quoted(text)}: expected a readable directory, got {error.strerror}. Check its owner "
            "and permissions."
        ) from error
    yield found


def _local(text: str, limits: SizeLimits) -> Source:
    path = Path(text)
    if path.is_dir():
        if (path / MANIFEST_FILE).is_file():
            return _of_directory(text, path, limits)
        if _is_model(path):
            return _of_store(text, ReadableStore(path.parent, limits=limits), ModelReference(path.name))
        return _of_store(text, ReadableStore(path, limits=limits), None)
    name, at, _ = path.name.partition("@")
    if at and path.parent.is_dir() and is_model_name(name):
        return _of_store(text, ReadableStore(path.parent, limits=limits), ModelReference.parse(path.name))
    raise ModelNotFound(f"source: {quoted(text)}: expected versions to add, found nothing there. {_FORMS}")


def _is_model(path: Path) -> bool:
    """Whether this is the directory of one model: some entry is a version."""
    return is_model_name(path.name) and any(
        version_number(entry.name) is not None and (entry / MANIFEST_FILE).is_file()
        for entry in path.iterdir()
    )


def _of_store(label: str, store: ReadableStore, reference: ModelReference | None) -> Source:
    if reference is None:
        names: Sequence[str] = store.names()
    elif reference.version is None and reference.alias is None:
        names = [reference.name]
    else:
        return Source(label, (store.resolve(reference),), frozenset(), store)
    versions = tuple(VersionId(name, number) for name in names for number in store.versions(name))
    if not versions:
        raise ModelNotFound(f"source: {quoted(label)}: expected a model store, found no model. {_FORMS}")
    return Source(label, versions, frozenset(names), store)


def _of_directory(label: str, path: Path, limits: SizeLimits) -> Source:
    with OpenDirectory.at(path, hard_links=True) as directory:
        data = directory.read(MANIFEST_FILE, ceiling_bytes=limits.manifest_bytes)
    manifest = parse_manifest(data, where=str(path / MANIFEST_FILE))
    return Source(label, (VersionId(manifest.name, manifest.version),), frozenset(), path=path)


def _split_address(text: str) -> tuple[str, ModelReference | None]:
    """`s3://bucket/prefix/mnist@5` → `s3://bucket/prefix` and the reference."""
    if "@" in text.partition("://")[2].partition("/")[0]:  # not repeated: it is a password
        raise InvalidReference(
            "source: expected an address such as s3://bucket/prefix, got one with a user or a password; the "
            "storage's own variables carry these (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    before, _, last = text.rstrip("/").rpartition("/")
    if "@" in last and not before.endswith("/"):
        return before, ModelReference.parse(last)
    return text.rstrip("/"), None


def _reference(text: str) -> ModelReference | None:
    """`mnist`, `mnist@5` or `mnist/5`; None for nothing.

    Raises:
        InvalidReference: None of these.
    """
    if not text:
        return None
    try:
        return ModelReference.parse(text.replace("/", "@", 1))
    except StoreError as error:
        raise InvalidReference(f"source: {error} {_FORMS}") from error
