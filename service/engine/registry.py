"""Which models are loaded, under which names, and why some are not.

Knows the store, references and versions. Knows nothing of HTTP or of how a model computes. A reference is
matched against its grammar and looked up; it is never joined into a path here.

Two shelves:

* what `load_all` loads, the default and every version that an alias points to, stays until the next
  `load_all`; look-ups read one immutable snapshot and take no lock;
* a version that exists but has no alias is loaded when it is first asked for (`model_cache.py`).

`load_all` may be called again, to see what has been published since: it reads names and aliases anew, keeps
what is loaded already unless its manifest is another (a version never changes, but the content of a mounted
volume is replaced as a whole), leaves in service what a broken successor would have
replaced, and swaps the snapshot at the end. Callers keep the model they have got until they are done with it;
then its memory goes back to the system. `refresh` is the same for a watcher: what was refused is not tried
again before its files change.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from model_store import (
    InvalidReference,
    ModelNotFound,
    ModelReference,
    ModelStore,
    NotPermitted,
    StoreError,
    UnsafeFile,
    VersionId,
)
from service.engine.errors import EngineError, InvalidModelReference, ModelUnavailable, UnknownModel
from service.engine.loading import DEFAULT_MAX_BATCH, load_model
from service.engine.model import LoadedModel
from service.engine.model_cache import ModelCache
from service.engine.observer import EngineObserver, Unobserved
from service.engine.runtime.allocator import return_memory
from service.engine.runtime.worker_pool import WorkerPool
from service.engine.store_snapshot import StoreSnapshot, take_snapshot
from service.log_fields import fields

_GONE = (
    "It is no longer in the store; the version that was loaded from there goes on answering. Publish it "
    "again, or choose another default model (VAE_DEFAULT_MODEL)."
)
#: Why an entry that is named like a model may belong to someone else, and is then ignored.
_FOREIGN = (NotPermitted, UnsafeFile)
#: Stands among names for the whole store; the space keeps it apart from every name.
_STORE = "the store"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadFailure:
    """Something in the store that cannot be served, and why."""

    model: str
    """`name@version`, a name whose aliases cannot be read, or `the store`."""
    reason: str


@dataclass(frozen=True)
class Readiness:
    """Whether requests that name no model can be answered; `remedy` is empty when they can."""

    ready: bool
    reason: str
    remedy: str


@dataclass(frozen=True)
class _Listing:
    """What the store says there is."""

    references: Mapping[str, VersionId]
    unreadable: Mapping[str, str]
    """Reason by name; `the store` stands for all of them."""
    ignored: Mapping[str, str]
    """Reason by name of what may belong to someone else."""


@dataclass(frozen=True)
class _Refused:
    """Why a version was refused, and what its files looked like then."""

    reason: str
    files: StoreSnapshot


@dataclass(frozen=True)
class _Catalogue:
    """What one `load_all` found. Never changed, only replaced."""

    by_reference: Mapping[str, LoadedModel] = field(default_factory=dict)
    failed_references: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[LoadFailure, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[VersionId, _Refused] = field(default_factory=dict)

    @property
    def models(self) -> Mapping[VersionId, LoadedModel]:
        return {model.id: model for model in self.by_reference.values()}


class ModelRegistry:
    """Every loaded model by every name it answers to. All methods may be called from any thread."""

    def __init__(
        self,
        store: ModelStore,
        *,
        default: str,
        threads: int,
        max_loaded: int,
        worker_pool: WorkerPool,
        max_batch: int = DEFAULT_MAX_BATCH,
        observer: EngineObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet; see `load_all`.

        Args:
            store: Where published versions are.
            default: Reference of the model that answers when none is named.
            threads: Threads of one model run.
            max_loaded: Most versions held beside those that `load_all` loads.
            max_batch: Most rows that one call of a model takes.
            worker_pool: Where the models' queued runs happen.
            observer: Told of those runs.
            clock: Monotonic seconds.

        Raises:
            InvalidModelReference: `default` is no reference.
        """
        _parse(default)
        self._store = store
        self._default = default
        self._threads = threads
        self._max_batch = max_batch
        self._worker_pool = worker_pool
        self._observer = observer or Unobserved()
        self._catalogue: _Catalogue | None = None
        self._reload = threading.Lock()  # one load_all at a time
        self._cache = ModelCache(lambda version: self._load(version, ()), limit=max_loaded, clock=clock)

    @property
    def default(self) -> str:
        """The reference that stands in when a caller names none."""
        return self._default

    def load_all(self) -> None:
        """Load the default and every aliased version, then put them in service together.

        Never raises for what is in the store: what fails is recorded and logged, and whatever answered to
        the same reference before goes on answering.
        """
        self._read_store(again=True)

    def refresh(self) -> bool:
        """`load_all` for a watcher, who calls it whenever the store may have changed.

        A version that was refused is not tried, nor told of, again before its files change.

        Returns:
            Whether anything is served or refused now that was not before, or the other way round.
        """
        return self._read_store(again=False)

    def retire_idle(self, idle_s: float) -> None:
        """Lets go of versions that are there only because somebody once named them, and nobody has since.

        Args:
            idle_s: Seconds without use.
        """
        retired = self._cache.retire(idle_s)
        for version in retired:
            _log.info("model retired", extra=fields(model=str(version), idle_s=idle_s))
        if retired:
            return_memory()

    def signature(self) -> StoreSnapshot:
        """What the store looks like from outside: it changes when something is published, moved or mended.

        Cheap enough to be asked for several times a second: of versions only the directories are looked at,
        and the files only of those that were refused.
        """
        catalogue = self._catalogue or _Catalogue()
        files = set(take_snapshot(self._store.root, root=self._store.root, depth=2))
        for version in catalogue.refused:
            files |= self._files_of(version)
        return frozenset(files)

    def _read_store(self, *, again: bool) -> bool:
        with self._reload:
            previous = self._catalogue or _Catalogue()
            listing = self._list(previous)
            for name, reason in listing.ignored.items():
                if again or previous.ignored.get(name) != reason:
                    _log.warning("store entry ignored", extra=fields(model=name, reason=reason))
            refused = {} if again else self._still_refused(previous.refused)
            models, refusals = self._load_listed(listing.references, previous.models, refused)
            reasons = {version: refusal.reason for version, refusal in refusals.items()}
            kept = {
                text: model
                for text, model in previous.by_reference.items()
                if listing.references.get(text) in reasons
                or not listing.unreadable.keys().isdisjoint((_STORE, model.id.name))
            }
            found = {text: models[v] for text, v in listing.references.items() if v in models}
            by_reference = {**kept, **found}
            lost = previous.by_reference.get(self._default)
            failures = [
                *(LoadFailure(name, reason) for name, reason in listing.unreadable.items()),
                *(LoadFailure(str(version), reason) for version, reason in reasons.items()),
            ]
            if lost is not None and self._default not in by_reference:
                # Requests that name no model are most requests: what answered them goes on answering.
                by_reference[self._default] = lost
                failures.append(LoadFailure(self._default, _GONE))
            by_reference |= {model.label: model for model in by_reference.values()}
            failed = {text: reasons[v] for text, v in listing.references.items() if v in reasons}
            failed |= {str(version): reason for version, reason in reasons.items()}
            self._catalogue = current = _Catalogue(
                by_reference=MappingProxyType(by_reference),
                failed_references=MappingProxyType(failed),
                failures=tuple(failures),
                ignored=MappingProxyType(listing.ignored),
                refused=MappingProxyType(refusals),
            )
            self._cache.forget_refusals()
            for version, model in self._cache.models().items():
                if self._is_replaced(model):
                    self._cache.take(version)
            gone = previous.models.keys() - current.models.keys()
            for version in sorted(gone):
                _log.info("model retired", extra=fields(model=str(version)))
            changed = (_names(previous), previous.failures) != (_names(current), current.failures)
            fewer = not set(_names(previous).values()) <= set(_names(current).values())
            # The last names of what is retired; its memory can go once the callers who hold it are done.
            del previous, models, kept, found, lost
            if fewer:
                return_memory()
            return changed

    def _still_refused(self, refused: Mapping[VersionId, _Refused]) -> dict[VersionId, _Refused]:
        """Those whose files are as they were."""
        return {v: known for v, known in refused.items() if self._files_of(v) == known.files}

    def _files_of(self, version: VersionId) -> StoreSnapshot:
        root = self._store.root
        return take_snapshot(root / version.name / str(version.version), root=root, depth=1)

    def get(self, reference: str | None = None) -> LoadedModel:
        """The model for a reference, loading it if it exists and nobody has asked for it before.

        Loading takes up to seconds, in the calling thread; `peek` tells whether it would be needed.

        Args:
            reference: `name`, `name@version`, `name@alias`, or None for the default.

        Raises:
            InvalidModelReference: Not of these forms.
            UnknownModel: Nothing of that name exists.
            ModelUnavailable: It exists, or is the default, but cannot answer.
        """
        loaded = self.peek(reference)
        if loaded is not None:
            return loaded
        if reference is None:
            readiness = self.readiness()
            raise ModelUnavailable(self._default, f"{readiness.reason} {readiness.remedy}")
        parsed = _parse(reference)
        catalogue = self._catalogue or _Catalogue()
        if reference in catalogue.failed_references:
            raise ModelUnavailable(reference, catalogue.failed_references[reference])
        version = self._resolve(parsed)
        return catalogue.by_reference.get(str(version)) or self._cache.get(version)

    def peek(self, reference: str | None = None) -> LoadedModel | None:
        """The model for a reference if one dictionary look-up finds it: never loads, never blocks."""
        catalogue = self._catalogue
        if catalogue is None:
            return None
        return catalogue.by_reference.get(self._default if reference is None else reference)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Every model in memory, by name and version."""
        catalogue = self._catalogue or _Catalogue()
        everything = {**self._cache.models(), **catalogue.models}
        return tuple(everything[version] for version in sorted(everything))

    def failures(self) -> tuple[LoadFailure, ...]:
        """What `load_all` found in the store and could not serve."""
        return self._catalogue.failures if self._catalogue else ()

    def ignored(self) -> tuple[LoadFailure, ...]:
        """Entries of the store that are named like a model and that `load_all` ignored, and why.

        They may belong to someone else, such as a directory that may not be read. The default model and
        names that have been served are never ignored: those are failures.
        """
        found = self._catalogue.ignored if self._catalogue else {}
        return tuple(LoadFailure(name, reason) for name, reason in found.items())

    def readiness(self) -> Readiness:
        """Whether the default model is loaded, which includes having reproduced its golden vectors."""
        catalogue = self._catalogue
        if catalogue is None:
            return Readiness(False, "The models are still being loaded.", "Wait a moment.")
        model = catalogue.by_reference.get(self._default)
        if model is not None:
            return Readiness(True, f"{model.label} reproduced its golden vectors.", "")
        reason = catalogue.failed_references.get(self._default)
        if reason is not None:
            return Readiness(
                False,
                f"The default model '{self._default}' was refused: {reason}",
                "Publish a sound version, move the alias to one (vae-store promote), or choose another "
                "default model (VAE_DEFAULT_MODEL).",
            )
        parsed = _parse(self._default)
        unreadable = [f for f in catalogue.failures if f.model in (_STORE, parsed.name)]
        if unreadable:
            return Readiness(
                False,
                f"The default model '{self._default}' cannot be looked up: {unreadable[0].reason}",
                "Mend what it names, or point to another store (VAE_MODEL_STORE).",
            )
        return Readiness(
            False,
            f"The default model '{self._default}' is not in the store.",
            "Publish it (vae-train export), point to a store that has it (VAE_MODEL_STORE), or choose "
            "another default model (VAE_DEFAULT_MODEL).",
        )

    def _list(self, previous: _Catalogue) -> _Listing:
        """Every reference that `load_all` serves, except plain versions, and what could not be read."""
        references: dict[str, VersionId] = {}
        unreadable: dict[str, str] = {}
        ignored: dict[str, str] = {}
        default = _parse(self._default)
        try:
            names = self._store.names()
            unusable = self._store.unusable()
        except (StoreError, OSError) as error:
            return _Listing({}, {_STORE: _unreadable(_STORE, error)}, {})
        known = {default.name, *(model.id.name for model in previous.by_reference.values())}
        for name, defect in unusable.items():
            if name in known or not isinstance(defect, _FOREIGN):
                unreadable[name] = _unreadable(name, defect)
            else:
                ignored[name] = _reason(defect)
        for name in names:
            try:
                aliases = self._store.aliases(name)
                references |= {f"{name}@{alias}": VersionId(name, v) for alias, v in aliases.items()}
                # As of the same moment: a promotion in between must not make two names contradict each other.
                references[name] = self._store.resolve(name, aliases=aliases)
            except ModelNotFound:
                continue  # a name whose first version is still being published
            except (StoreError, OSError) as error:
                unreadable[name] = _unreadable(name, error)
        if default.version is not None and default.name in names:
            references[self._default] = VersionId(default.name, default.version)
        return _Listing(references, unreadable, ignored)

    def _load_listed(
        self,
        references: Mapping[str, VersionId],
        previous: Mapping[VersionId, LoadedModel],
        refused: Mapping[VersionId, _Refused],
    ) -> tuple[dict[VersionId, LoadedModel], dict[VersionId, _Refused]]:
        """Models by version, taken over where they are in memory, and why the others failed."""
        models: dict[VersionId, LoadedModel] = {}
        refusals: dict[VersionId, _Refused] = {}
        for version in sorted(set(references.values())):
            aliases = _aliases_of(version, references)
            if version in refused:
                refusals[version] = refused[version]
                continue
            files = self._files_of(version)  # before it is read: what changes meanwhile is read again
            known = previous.get(version) or self._cache.take(version)
            if known is not None and self._is_replaced(known):
                known = None
            try:
                models[version] = known.with_aliases(aliases) if known else self._load(version, aliases)
            except ModelUnavailable as error:
                refusals[version] = _Refused(error.reason, files)
        return models, refusals

    def _is_replaced(self, model: LoadedModel) -> bool:
        """Whether its version has other content now, as after an update of a mounted volume."""
        try:
            manifest = self._store.manifest(model.id)
        except (StoreError, OSError):
            return False  # the content in memory was verified
        if manifest.manifest_sha256 == model.manifest.manifest_sha256:
            return False
        _log.warning("version replaced", extra=fields(model=model.label))
        return True

    def _resolve(self, reference: ModelReference) -> VersionId:
        try:
            version = self._store.resolve(reference)
            if version.version in self._store.versions(version.name):
                return version
        except ModelNotFound:
            pass
        except (StoreError, OSError) as error:
            raise ModelUnavailable(str(reference), _reason(error)) from error
        raise UnknownModel(str(reference), self._known_references())

    def _known_references(self) -> tuple[str, ...]:
        catalogue = self._catalogue or _Catalogue()
        return tuple(sorted(catalogue.by_reference))

    def _load(self, version: VersionId, aliases: tuple[str, ...]) -> LoadedModel:
        """Verify, load, warm, compare with the golden vectors.

        Raises:
            ModelUnavailable: Any of it failed; the log has the reason too.
        """
        started_s = time.perf_counter()
        result = "refused"
        try:
            published = self._store.open(version)
            model = load_model(
                published,
                threads=self._threads,
                max_batch=self._max_batch,
                aliases=aliases,
                worker_pool=self._worker_pool,
                observer=self._observer,
            )
        except (StoreError, EngineError, OSError, MemoryError) as error:
            reason = _reason(error)
            _log.error("model refused", extra=fields(model=str(version), reason=reason))
            raise ModelUnavailable(str(version), reason) from error
        else:
            result = "loaded"
        finally:
            self._observer.loaded(str(version), result, time.perf_counter() - started_s)
        _log.info(
            "model loaded",
            extra=fields(
                model=str(version),
                aliases=",".join(aliases),
                load_ms=(time.perf_counter() - started_s) * 1e3,
                threads=self._threads,
                batch_sizes=" ".join(f"{file}:{sizes[0]}" for file, sizes in model.batch_sizes.items()),
            ),
        )
        return model


def _names(catalogue: _Catalogue) -> Mapping[str, tuple[VersionId, str]]:
    return {
        text: (model.id, model.manifest.manifest_sha256) for text, model in catalogue.by_reference.items()
    }


def _parse(text: str) -> ModelReference:
    try:
        return ModelReference.parse(text)
    except InvalidReference:
        raise InvalidModelReference(text) from None


def _aliases_of(version: VersionId, references: Mapping[str, VersionId]) -> tuple[str, ...]:
    selectors = (text.partition("@")[2] for text, v in references.items() if v == version)
    return tuple(sorted(selector for selector in selectors if selector and not selector[0].isdigit()))


def _unreadable(model: str, error: Exception) -> str:
    reason = _reason(error)
    _log.error("store entry unreadable", extra=fields(model=model, reason=reason))
    return reason


def _reason(error: BaseException) -> str:
    if isinstance(error, StoreError | EngineError):
        return str(error)[:600]
    return f"{type(error).__name__}: {error}"[:600]
