"""One version of a store is loaded, with its time and outcome logged and counted.

Knows the store and what every model is loaded with. Knows nothing of references, or of which versions are in
service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from model_store import ModelStore, StoreError, VersionId
from service.engine.errors import EngineError, ModelUnavailable
from service.engine.loading import load_model
from service.engine.model import LoadedModel
from service.engine.observer import EngineObserver
from service.engine.parallel_calls import run_together
from service.engine.runtime.accelerator import CPU, Accelerator
from service.engine.runtime.worker_pool import WorkerPool
from service.engine.store_listing import reason_of
from service.log_fields import fields

#: A version is small up to so many values of an image and so many bytes of files. Small ones load together.
_SMALL_VALUES: Final = 3 * 64 * 64
_SMALL_BYTES: Final = 32 << 20
_log = logging.getLogger(__name__)


class VersionLoader:
    """Loads versions of one store, all with the same settings. `load` may be called from any thread."""

    def __init__(
        self,
        store: ModelStore,
        *,
        accelerator: Accelerator = CPU,
        threads: int,
        max_batch: int,
        max_values: int,
        worker_pool: WorkerPool,
        observer: EngineObserver,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            store: Where published versions are.
            accelerator: What runs the models.
            threads: Threads of one model run.
            max_batch: Maximum number of rows per call.
            max_values: Maximum number of values of the images of a call, or one image.
            worker_pool: Runs what waits in the models' queues.
            observer: Counts loads and runs.
        """
        self._store = store
        self._accelerator = accelerator
        self._threads = threads
        self._max_batch = max_batch
        self._max_values = max_values
        self._worker_pool = worker_pool
        self._observer = observer

    def load_several(
        self, wanted: Mapping[VersionId, tuple[str, ...]]
    ) -> dict[VersionId, LoadedModel | ModelUnavailable]:
        """Load versions with their aliases: small ones at the same time, as many as models may run.

        A load is nearly all computation. Two large ones at the same time would need the memory of both.

        Returns:
            Each model, or why it was refused, in the order of `wanted`.
        """
        at_once = min(self._worker_pool.count, len(wanted))
        small = [version for version in wanted if self._is_small(version)] if at_once > 1 else []
        found = run_together(lambda each: self._load_or_reason(each, wanted[each]), small, at_once)
        return {
            version: found[version] if version in found else self._load_or_reason(version, aliases)
            for version, aliases in wanted.items()
        }

    def _load_or_reason(self, version: VersionId, aliases: tuple[str, ...]) -> LoadedModel | ModelUnavailable:
        try:
            return self.load(version, aliases)
        except ModelUnavailable as error:
            return error

    def _is_small(self, version: VersionId) -> bool:
        """Whether its load needs little memory. The manifest is read again, and verified, by the load."""
        try:
            manifest = self._store.manifest(version)
        except (StoreError, OSError):
            return True  # its load fails with the reason
        graphs_bytes = sum(entry.size_bytes for entry in manifest.files.values())
        return manifest.values_per_row <= _SMALL_VALUES and graphs_bytes <= _SMALL_BYTES

    def load(self, version: VersionId, aliases: tuple[str, ...] = ()) -> LoadedModel:
        """Verify a version, load it, warm it, and compare it with its golden vectors.

        Raises:
            ModelUnavailable: Any of it failed; the log contains the reason too.
        """
        started_s = time.perf_counter()
        result = "refused"
        try:
            published = self._store.open(version)
            model = load_model(
                published,
                accelerator=self._accelerator,
                threads=self._threads,
                max_batch=self._max_batch,
                max_values=self._max_values,
                aliases=aliases,
                worker_pool=self._worker_pool,
                observer=self._observer,
            )
        except (StoreError, EngineError, OSError, MemoryError) as error:
            reason = reason_of(error)
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
                **({} if published.signed_by is None else {"signed_by": published.signed_by}),
                batch_sizes=" ".join(f"{file}:{sizes[0]}" for file, sizes in model.batch_sizes.items()),
            ),
        )
        return model
