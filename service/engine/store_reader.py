"""The store is read again, and the next catalogue made from the one before.

Knows listings, versions and refusals. Knows nothing of requests.

A model that is loaded stays loaded, unless its manifest is another: a version never changes, but the content
of a mounted volume is replaced as a whole. Where a successor is broken, its predecessor keeps its references.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from model_store import ModelNotFound, ModelStore, StoreError, VersionId
from model_store.signature_places import places_beside
from service.engine.canary import Canary
from service.engine.catalogue import Catalogue, LoadFailure, Refusal
from service.engine.default_model import DefaultModel, renamed
from service.engine.errors import ModelUnavailable
from service.engine.model import LoadedModel
from service.engine.model_cache import ModelCache
from service.engine.store_listing import StoreListing, list_store
from service.engine.store_snapshot import StoreSnapshot, take_file_snapshot, take_snapshot
from service.engine.version_loader import VersionLoader
from service.log_fields import fields

_GONE = (
    "It is no longer in the store; the loaded version continues to be served. Publish it again, or choose "
    "another default model (VAE_DEFAULT_MODEL)."
)
#: The reason why an unloaded model is not served.
UNLOADED = "It was unloaded; load it again (POST /v2/repository/models/NAME/load)."
_log = logging.getLogger(__name__)


class StoreReader:
    """Makes catalogues of one store. `read` is called by one thread at a time."""

    def __init__(
        self, store: ModelStore, *, default: DefaultModel, loader: VersionLoader, cache: ModelCache
    ) -> None:
        """Nothing is read yet.

        Args:
            store: Where published versions are.
            default: The default model.
            loader: Loads versions.
            cache: Models in memory that no alias points to; one that an alias points to now is taken out.
        """
        self._store = store
        self._default = default
        self._loader = loader
        self._cache = cache

    def read(self, previous: Catalogue, *, again: bool, unloaded: frozenset[str] = frozenset()) -> Catalogue:
        """The next catalogue.

        Never raises for what is in the store: each failure is recorded and logged, and the model that had
        the reference before keeps it.

        Args:
            previous: The catalogue in service.
            again: Whether to load versions again that were refused and whose files have not changed, and to
                log known ignored entries again.
            unloaded: Names that are not served, whatever the store has.
        """
        served = {model.id.name for model in previous.by_reference.values()}
        default = self._default.choose(self._store)
        listing = list_store(self._store, default=default, served=served)
        names = {version.name for version in listing.references.values()} | listing.unreadable.keys()
        second_name = self._default.second_name(names)
        off = {text: UNLOADED for text, version in listing.references.items() if version.name in unloaded}
        if unloaded:
            previous, listing = previous.without(unloaded), listing.without(unloaded)
        for name, reason in listing.ignored.items():
            if again or previous.ignored.get(name) != reason:
                _log.warning("store entry ignored", extra=fields(model=name, reason=reason))
        refused = {} if again else self._still_refused(previous.refused)
        models, refusals = self._load_listed(listing, previous.models, refused)
        reasons = {version: refusal.reason for version, refusal in refusals.items()}
        failures = [
            *(LoadFailure(name, reason) for name, reason in listing.unreadable.items()),
            *(LoadFailure(str(version), reason) for version, reason in reasons.items()),
        ]
        by_reference = _keep(previous, listing, reasons) | {
            text: models[version] for text, version in listing.references.items() if version in models
        }
        lost = previous.by_reference.get(previous.default)
        if lost is not None and default not in by_reference:
            # Most requests use the default model, so keep serving the old version.
            default = previous.default
            by_reference[default] = lost
            failures.append(LoadFailure(default, _GONE))
        canaries = _kept_canaries(previous, listing) | {
            text: (canary, models[canary.version])
            for text, canary in listing.canaries.items()
            # A canary that was refused takes no requests, and has none without the alias's own version.
            if canary.version in models and text in by_reference
        }
        by_reference |= {model.label: model for _, model in canaries.values()}
        by_reference |= {model.label: model for model in by_reference.values()}
        failed = off | {text: reasons[v] for text, v in listing.references.items() if v in reasons}
        failed |= {str(version): reason for version, reason in reasons.items()}
        if second_name is not None:
            by_reference |= renamed(by_reference, default=default, second_name=second_name)
            failed |= renamed(failed, default=default, second_name=second_name)
            canaries |= renamed(canaries, default=default, second_name=second_name)
        return Catalogue(
            by_reference=MappingProxyType(by_reference),
            failed_references=MappingProxyType(failed),
            failures=tuple(failures),
            ignored=MappingProxyType(listing.ignored),
            refused=MappingProxyType(refusals),
            canaries=MappingProxyType(canaries),
            store_exists=_exists(self._store.root),
            default=default,
            second_name=second_name,
        )

    def snapshot(self, catalogue: Catalogue) -> StoreSnapshot:
        """The directories of the store, and the files of refused versions."""
        root = self._store.root
        files = set(take_snapshot(root, root=root, depth=2))
        for version in catalogue.refused:
            files |= self._files_of(version)
        return frozenset(files)

    def is_gone_or_replaced(self, model: LoadedModel) -> bool:
        """Whether the version was removed, or has other content now. An unreadable store tells nothing."""
        try:
            gone = model.id.version not in self._store.versions(model.id.name)
        except ModelNotFound:
            gone = True
        except (StoreError, OSError):
            gone = False
        return gone or self.is_replaced(model)

    def is_replaced(self, model: LoadedModel) -> bool:
        """Whether the version has other content now, as after an update of a mounted volume."""
        try:
            manifest = self._store.manifest(model.id)
        except (StoreError, OSError):
            return False  # the content in memory was verified
        if manifest.manifest_sha256 == model.manifest.manifest_sha256:
            return False
        _log.warning("version replaced", extra=fields(model=model.label))
        return True

    def _load_listed(
        self,
        listing: StoreListing,
        previous: Mapping[VersionId, LoadedModel],
        refused: Mapping[VersionId, Refusal],
    ) -> tuple[dict[VersionId, LoadedModel], dict[VersionId, Refusal]]:
        """Models by version, reused where they are in memory, and why the others failed."""
        models: dict[VersionId, LoadedModel] = {}
        refusals: dict[VersionId, Refusal] = {}
        files: dict[VersionId, StoreSnapshot] = {}
        for version in listing.versions:
            if version in refused:
                refusals[version] = refused[version]
                continue
            known = previous.get(version) or self._cache.take(version)
            if known is not None and not self.is_replaced(known):
                models[version] = known.with_aliases(listing.aliases_of(version))
            else:  # before the reading: later changes trigger another reading
                files[version] = self._files_of(version)
        for version, found in self._loader.load_several(
            {version: listing.aliases_of(version) for version in files}
        ).items():
            if isinstance(found, ModelUnavailable):
                refusals[version] = Refusal(found.reason, files[version])
            else:
                models[version] = found
        return models, refusals

    def _still_refused(self, refused: Mapping[VersionId, Refusal]) -> dict[VersionId, Refusal]:
        """Those whose files have not changed."""
        return {v: known for v, known in refused.items() if self._files_of(v) == known.files}

    def _files_of(self, version: VersionId) -> StoreSnapshot:
        """The files of a version, and its signature, which is next to it."""
        path = self._store.path_of(version)
        files = take_snapshot(path, root=self._store.root, depth=1)
        return files.union(*map(take_file_snapshot, places_beside(path)))


def _exists(directory: Path) -> bool:
    try:
        directory.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # reading it has failed with the reason
    return True


def _kept_canaries(previous: Catalogue, listing: StoreListing) -> dict[str, tuple[Canary, LoadedModel]]:
    """Those of names whose aliases could not be read."""
    return {text: each for text, each in previous.canaries.items() if listing.could_not_read(each[1].id.name)}


def _keep(
    previous: Catalogue, listing: StoreListing, reasons: Mapping[VersionId, str]
) -> dict[str, LoadedModel]:
    """References that keep their model: the successor is broken, or the aliases could not be read."""
    return {
        text: model
        for text, model in previous.by_reference.items()
        if listing.references.get(text) in reasons or listing.could_not_read(model.id.name)
    }
