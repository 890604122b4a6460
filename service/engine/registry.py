"""The loaded models, their names, and the reasons why others are not loaded.

Knows references, versions and the catalogue in service. Knows nothing of HTTP, of how the store is read or of
how a model computes.

There are two shelves:

* the models of `load_all`, the default and every version with an alias, stay until the next `load_all`;
  look-ups read one immutable catalogue and take no lock;
* a version that exists but has no alias is loaded when it is first requested (`model_cache`).

`load_all` may be called again, to serve what has been published since (`store_reader`); it swaps the
catalogue at the end. Callers keep the model they have until they are done with it; then its memory goes back
to the system. `refresh` is the same for a watcher: a refused version is not loaded again before its files
change.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from model_store import ModelNotFound, ModelReference, ModelStore, StoreError, VersionId
from service.engine.canary import Split
from service.engine.catalogue import Catalogue, LoadFailure, Readiness
from service.engine.default_model import DefaultModel
from service.engine.errors import ModelUnavailable, UnknownModel
from service.engine.loading import DEFAULT_MAX_BATCH, DEFAULT_MAX_VALUES
from service.engine.model import LoadedModel
from service.engine.model_cache import ModelCache
from service.engine.observer import EngineObserver, Unobserved
from service.engine.runtime.accelerator import CPU, Accelerator
from service.engine.runtime.allocator import return_memory
from service.engine.runtime.worker_pool import WorkerPool
from service.engine.store_listing import parse_reference, reason_of
from service.engine.store_reader import UNLOADED, StoreReader
from service.engine.store_snapshot import StoreSnapshot
from service.engine.unloaded_names import UnloadedNames
from service.engine.version_loader import VersionLoader
from service.log_fields import fields

_log = logging.getLogger(__name__)


class ModelRegistry:
    """Every loaded model by each of its names. Any thread may call any method."""

    def __init__(
        self,
        store: ModelStore,
        *,
        default: str,
        accelerator: Accelerator = CPU,
        threads: int,
        max_loaded: int,
        worker_pool: WorkerPool,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_values: int = DEFAULT_MAX_VALUES,
        observer: EngineObserver | None = None,
        unloaded: UnloadedNames | None = None,
        default_is_stated: bool = True,
        served_name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet; see `load_all`.

        Args:
            store: Where published versions are.
            default: Reference of the model that answers when a request names none.
            accelerator: What runs the models.
            threads: Threads of one model run.
            max_loaded: Most versions held beyond those that `load_all` loads.
            worker_pool: Runs what waits in the models' queues.
            max_batch: Maximum number of rows per call.
            max_values: Maximum number of values of the images of a call, or one image.
            observer: Counts loads and runs.
            unloaded: Names that are not served, shared by several workers.
            default_is_stated: Whether an operator chose `default`. Otherwise the only model of the store, or
                its model `served_name`, comes before it.
            served_name: Second name of the default model, unless the store has a model with this name.
            clock: Monotonic seconds.

        Raises:
            InvalidModelReference: `default` is no reference.
        """
        parse_reference(default)
        self._store = store
        self._default = DefaultModel(default, is_stated=default_is_stated, served_name=served_name)
        loader = VersionLoader(
            store,
            accelerator=accelerator,
            threads=threads,
            max_batch=max_batch,
            max_values=max_values,
            worker_pool=worker_pool,
            observer=observer or Unobserved(),
        )
        self._cache = ModelCache(loader.load, limit=max_loaded, clock=clock)
        self._reader = StoreReader(store, default=self._default, loader=loader, cache=self._cache)
        self._catalogue: Catalogue | None = None
        self._unloaded = unloaded or UnloadedNames()
        self._reading = threading.Lock()  # one reading of the store at a time

    @property
    def default(self) -> str:
        """The reference that stands in when a request names none."""
        return self._current().default or self._default.reference

    @property
    def second_name(self) -> str | None:
        """Another name of the default model, if it has one."""
        return self._current().second_name

    def name_of(self, name: str) -> str:
        """The name in the store; only the second name of the default model differs from it."""
        return self._current().name_of(name)

    def load_all(self) -> None:
        """Load the default and every aliased version, then serve them together.

        Never raises for what is in the store: each failure is recorded and logged, and the model that had
        the reference before keeps it.
        """
        self._read_store(again=True)

    def refresh(self) -> bool:
        """`load_all` for a watcher, which calls it after possible changes of the store.

        A refused version is neither loaded nor logged again before its files change.

        Returns:
            Whether the served or refused versions differ from before.
        """
        return self._read_store(again=False)

    def retire_idle(self, idle_s: float) -> None:
        """Release versions without an alias that no request has named for a while.

        Args:
            idle_s: Seconds without use.
        """
        retired = self._cache.retire(idle_s)
        for version in retired:
            _log.info("model retired", extra=fields(model=str(version), idle_s=idle_s))
        if retired:
            return_memory()

    def signature(self) -> StoreSnapshot:
        """A snapshot of the store's files: it changes when something is published, moved or mended.

        Cheap enough for several calls a second: it looks at the directories of versions, and at the files of
        refused versions alone.
        """
        return self._reader.snapshot(self._current())

    def get(self, reference: str | None = None, key: str | None = None) -> LoadedModel:
        """The model for a reference, loaded now if it exists and is not in memory.

        Loading takes up to seconds, in the calling thread; `peek` says whether it would be needed.

        Args:
            reference: `name`, `name@version`, `name@alias`, or None for the default.
            key: As of `peek`.

        Raises:
            InvalidModelReference: Not of these forms.
            UnknownModel: No model has that name.
            ModelUnavailable: It exists, or is the default, but cannot be served.
        """
        loaded = self.peek(reference, key)
        if loaded is not None:
            return loaded
        if reference is None:
            readiness = self.readiness()
            raise ModelUnavailable(self.default, f"{readiness.reason} {readiness.remedy}")
        catalogue = self._current()
        asked = parse_reference(reference)
        parsed = dataclasses.replace(asked, name=catalogue.name_of(asked.name))
        if parsed.name in self._unloaded.names:
            raise ModelUnavailable(reference, UNLOADED)
        if reference in catalogue.failed_references:
            raise ModelUnavailable(reference, catalogue.failed_references[reference])
        version = self._resolve(parsed, asked)
        return catalogue.by_reference.get(str(version)) or self._cache.get(version)

    def peek(self, reference: str | None = None, key: str | None = None) -> LoadedModel | None:
        """The model for a reference if it is in memory under this name: never loads, never waits for a load.

        A version without an alias is found while it is in memory, until a reading of the store finds that it
        was removed.

        Args:
            reference: As of `get`.
            key: Chooses between the versions of an alias that splits: the same key, the same version. Without
                it, the alias's own version.
        """
        catalogue = self._catalogue
        if catalogue is None:
            return None
        text = catalogue.default if reference is None else reference
        if key is not None and catalogue.canaries and text in catalogue.canaries:
            canary, model = catalogue.canaries[text]
            if canary.takes(key):
                return model
        return catalogue.by_reference.get(text) or self._cache.find(text)

    def is_split(self, reference: str | None = None) -> bool:
        """Whether two versions answer for a reference, so that a key decides."""
        catalogue = self._current()
        return (catalogue.default if reference is None else reference) in catalogue.canaries

    def splits(self) -> tuple[Split, ...]:
        """Every alias that splits, by name."""
        catalogue = self._current()
        found = {canary.alias: canary for canary in catalogue.shares.values()}
        return tuple(
            Split(alias, catalogue.by_reference[alias].label, str(canary.version), canary.percent)
            for alias, canary in sorted(found.items())
            if alias in catalogue.by_reference
        )

    def has_name(self, name: str) -> bool:
        """Whether the store had a model of this name at its last reading, also one that cannot be served."""
        return name in self._current().names

    def unload(self, name: str) -> None:
        """Release every version of a name, and serve none until `allow`. The store does not change.

        Callers keep the model they have until they are done with it.
        """
        self._unloaded.add(self.name_of(name))
        self._read_store(again=False)

    def allow(self, name: str) -> None:
        """Serve a name again that was unloaded; `load_all` loads it."""
        self._unloaded.remove(self.name_of(name))

    def unloaded(self) -> tuple[str, ...]:
        """Names that `unload` took out of service."""
        return tuple(sorted(self._unloaded.names))

    def loaded(self) -> tuple[LoadedModel, ...]:
        """Every model in memory, by name and version."""
        everything = {**self._cache.models(), **self._current().models}
        return tuple(everything[version] for version in sorted(everything))

    def failures(self) -> tuple[LoadFailure, ...]:
        """Entries of the store that `load_all` found and could not serve."""
        return self._current().failures

    def ignored(self) -> tuple[LoadFailure, ...]:
        """Entries of the store with the name of a model that `load_all` ignored, and the reasons.

        They may belong to another program, such as an unreadable directory. The default model and names that
        have been served are never ignored: those are failures.
        """
        return tuple(LoadFailure(name, reason) for name, reason in self._current().ignored.items())

    def readiness(self) -> Readiness:
        """Whether the default model is loaded, which includes having reproduced its golden vectors."""
        if self._catalogue is None:
            return Readiness(False, "The models are still being loaded.", "Wait a moment.")
        return self._catalogue.readiness(self._catalogue.default)

    def _current(self) -> Catalogue:
        return self._catalogue or Catalogue()

    def _read_store(self, *, again: bool) -> bool:
        """Swap the catalogue; whether another content is served or refused now."""
        with self._reading:
            self._unloaded.refresh()
            unloaded = self._unloaded.names
            previous = self._current()
            self._catalogue = current = self._reader.read(previous, again=again, unloaded=unloaded)
            self._cache.forget_refusals()
            for version, model in self._cache.models().items():
                if version.name in unloaded or self._reader.is_gone_or_replaced(model):
                    self._cache.take(version)
            gone = previous.models.keys() - current.models.keys()
            for version in sorted(gone):
                _log.info("model retired", extra=fields(model=str(version)))
            before, after = previous.contents, current.contents
            changed = (before, previous.failures, previous.shares) != (
                after,
                current.failures,
                current.shares,
            )
            del previous  # the last reference to retired models, but for the callers who still hold them
            if not set(before.values()) <= set(after.values()):
                return_memory()
            return changed

    def _resolve(self, reference: ModelReference, asked: ModelReference) -> VersionId:
        try:
            version = self._store.resolve(reference)
            if version.version in self._store.versions(version.name):
                return version
        except ModelNotFound:
            pass
        except (StoreError, OSError) as error:
            raise ModelUnavailable(str(asked), reason_of(error)) from error
        raise UnknownModel(str(asked), tuple(sorted(self._current().by_reference)))
