"""Which references a store offers, and which of its entries cannot be read.

Knows the store, names and aliases. Knows nothing of loaded models. A reference is matched against its grammar
and looked up; it is never joined into a path here.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from model_store import (
    STABLE,
    InvalidReference,
    ModelNotFound,
    ModelReference,
    ModelStore,
    NotPermitted,
    StoreError,
    UnsafeFile,
    VersionId,
)
from model_store.aliases import AliasEntry
from service.engine.canary import Canary
from service.engine.errors import EngineError, InvalidModelReference
from service.log_fields import fields

#: The name of the whole store among names of models; the space keeps it apart from all of them.
WHOLE_STORE = "the store"
#: The reason why an entry with the name of a model may belong to another program, and is ignored.
_FOREIGN = (NotPermitted, UnsafeFile)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreListing:
    """Every reference to serve, except plain versions, and the entries that could not be read."""

    references: Mapping[str, VersionId]
    unreadable: Mapping[str, str]
    """Reason by name; `the store` represents all of them."""
    ignored: Mapping[str, str]
    """Reason by name of each entry that may belong to someone else."""
    canaries: Mapping[str, Canary] = field(default_factory=dict)
    """By reference, for each that splits: then `references` has the alias's own version."""

    @property
    def versions(self) -> tuple[VersionId, ...]:
        """Every version to load."""
        canaries = (canary.version for canary in self.canaries.values())
        return tuple(sorted({*self.references.values(), *canaries}))

    def could_not_read(self, name: str) -> bool:
        """Whether the aliases of a name are unknown: its own, or those of the whole store."""
        return name in self.unreadable or WHOLE_STORE in self.unreadable

    def without(self, names: Collection[str]) -> StoreListing:
        """The same without the references of some names."""
        kept = {text: version for text, version in self.references.items() if version.name not in names}
        canaries = {text: each for text, each in self.canaries.items() if each.version.name not in names}
        return dataclasses.replace(self, references=kept, canaries=canaries)

    def aliases_of(self, version: VersionId) -> tuple[str, ...]:
        """The aliases that point to a version, sorted, without the model's own name."""
        selectors = (text.partition("@")[2] for text, v in self.references.items() if v == version)
        return tuple(sorted(selector for selector in selectors if selector and not selector[0].isdigit()))


def list_store(store: ModelStore, *, default: str, served: Collection[str]) -> StoreListing:
    """Read names and aliases; log each entry that cannot be read.

    Args:
        store: The store to read.
        default: Reference of the default model; listed even if it is a plain version.
        served: Names that are served now. They and the default are never ignored.
    """
    references: dict[str, VersionId] = {}
    unreadable: dict[str, str] = {}
    ignored: dict[str, str] = {}
    canaries: dict[str, Canary] = {}
    wanted = parse_reference(default)
    try:
        names = store.names()
        unusable = store.unusable()
    except (StoreError, OSError) as error:
        return StoreListing({}, {WHOLE_STORE: _unreadable(WHOLE_STORE, error)}, {})
    for name, defect in unusable.items():
        if name == wanted.name or name in served or not isinstance(defect, _FOREIGN):
            unreadable[name] = _unreadable(name, defect)
        else:
            ignored[name] = reason_of(defect)
    for name in names:
        try:
            entries = store.alias_entries(name)
            aliases = {alias: entry.version for alias, entry in entries.items()}
            references |= {f"{name}@{alias}": VersionId(name, v) for alias, v in aliases.items()}
            canaries |= _canaries(name, entries)
            # From the same moment: a promotion in between must not make two names contradict each other.
            references[name] = store.resolve(name, aliases=aliases)
        except ModelNotFound:
            continue  # a name whose first version is still being published
        except (StoreError, OSError) as error:
            unreadable[name] = _unreadable(name, error)
    if wanted.version is not None and wanted.name in names:
        references[default] = VersionId(wanted.name, wanted.version)
    return StoreListing(references, unreadable, ignored, canaries)


def _canaries(name: str, entries: Mapping[str, AliasEntry]) -> dict[str, Canary]:
    """The canary of each reference that splits. A bare name means `stable`."""
    found: dict[str, Canary] = {}
    for alias, entry in entries.items():
        if entry.canary is None:
            continue
        version = VersionId(name, entry.canary.version)
        found[f"{name}@{alias}"] = Canary(f"{name}@{alias}", version, entry.canary.percent)
        if alias == STABLE:
            found[name] = found[f"{name}@{alias}"]
    return found


def parse_reference(text: str) -> ModelReference:
    """A reference by its grammar.

    Raises:
        InvalidModelReference: The text is none.
    """
    try:
        return ModelReference.parse(text)
    except InvalidReference:
        raise InvalidModelReference(text) from None


def reason_of(error: BaseException) -> str:
    """An error as one bounded text, for logs and answers."""
    if isinstance(error, StoreError | EngineError):
        return str(error)[:600]
    return f"{type(error).__name__}: {error}"[:600]


def _unreadable(model: str, error: Exception) -> str:
    reason = reason_of(error)
    _log.error("store entry unreadable", extra=fields(model=model, reason=reason))
    return reason
