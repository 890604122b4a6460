"""A cache of models: each version is loaded on first use, once, and a bounded number is kept.

Knows locks, futures and ages. Knows nothing of stores or names: a function loads the versions. Times are
seconds on the monotonic clock.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from model_store import VersionId
from service.engine.errors import ModelUnavailable
from service.engine.model import LoadedModel
from service.log_fields import fields

#: How long a refused version is not loaded again: repeated requests must not cost a load each.
REFUSAL_S = 30.0
_MOST_REFUSALS_KEPT = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Refusal:
    until_s: float
    reason: str


class ModelCache:
    """At most `limit` models; the least recently used is evicted. May be called from any thread."""

    def __init__(
        self, load: Callable[[VersionId], LoadedModel], *, limit: int, clock: Callable[[], float]
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: Returns the model of a version or raises `ModelUnavailable`; never called twice at once for
                one version.
            limit: Maximum number of models.
            clock: Monotonic seconds.
        """
        self._load = load
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()  # guards the three below; never held during a load
        self._models: OrderedDict[VersionId, LoadedModel] = OrderedDict()
        self._loading: dict[VersionId, Future[LoadedModel]] = {}
        self._refused: OrderedDict[VersionId, _Refusal] = OrderedDict()
        self._used_s: dict[VersionId, float] = {}

    def get(self, version: VersionId) -> LoadedModel:
        """The model: from memory, from a thread that is loading it, or loaded by this thread.

        Raises:
            ModelUnavailable: It does not load, or did not in the last `REFUSAL_S` seconds.
        """
        mine: Future[LoadedModel] = Future()
        with self._lock:
            model = self._use(version)
            if model is not None:
                return model
            refusal = self._refused.get(version)
            if refusal is not None and self._clock() < refusal.until_s:
                raise ModelUnavailable(str(version), refusal.reason)
            others = self._loading.setdefault(version, mine)
        return self._load_for_all(version, mine) if others is mine else _wait_for(version, others)

    def find(self, label: str) -> LoadedModel | None:
        """The model of a version, as `name@number`, if it is in memory. It never waits for a load."""
        with self._lock:
            version = next((each for each, model in self._models.items() if model.label == label), None)
            return None if version is None else self._use(version)

    def take(self, version: VersionId) -> LoadedModel | None:
        """Remove a model and return it, if it is cached."""
        with self._lock:
            self._used_s.pop(version, None)
            return self._models.pop(version, None)

    def retire(self, idle_s: float) -> list[VersionId]:
        """Remove the models that had no use in the last `idle_s` seconds."""
        with self._lock:
            oldest_s = self._clock() - idle_s
            idle = [version for version, used_s in self._used_s.items() if used_s <= oldest_s]
            for version in idle:
                del self._models[version], self._used_s[version]
            return idle

    def models(self) -> Mapping[VersionId, LoadedModel]:
        """The cached models."""
        with self._lock:
            return dict(self._models)

    def forget_refusals(self) -> None:
        """Load refused versions again on their next use."""
        with self._lock:
            self._refused.clear()

    def _use(self, version: VersionId) -> LoadedModel | None:
        """The model if it is in memory, which counts as a use. Called with the lock held."""
        model = self._models.get(version)
        if model is not None:
            self._models.move_to_end(version)
            self._used_s[version] = self._clock()
        return model

    def _load_for_all(self, version: VersionId, mine: Future[LoadedModel]) -> LoadedModel:
        """Load in this thread, and pass the outcome to every thread that waits."""
        try:
            model = self._load(version)
        except BaseException as error:
            reason = error.reason if isinstance(error, ModelUnavailable) else "its load was interrupted."
            with self._lock:
                del self._loading[version]
                if isinstance(error, ModelUnavailable):
                    self._refuse(version, reason)
            mine.set_exception(ModelUnavailable(str(version), reason))
            raise
        with self._lock:
            del self._loading[version]
            self._models[version] = model
            self._used_s[version] = self._clock()
            while len(self._models) > self._limit:
                evicted, _ = self._models.popitem(last=False)
                self._used_s.pop(evicted, None)
                _log.info("model evicted", extra=fields(model=str(evicted)))
        mine.set_result(model)
        return model

    def _refuse(self, version: VersionId, reason: str) -> None:
        self._refused[version] = _Refusal(self._clock() + REFUSAL_S, reason)
        self._refused.move_to_end(version)
        while len(self._refused) > _MOST_REFUSALS_KEPT:
            self._refused.popitem(last=False)


def _wait_for(version: VersionId, others: Future[LoadedModel]) -> LoadedModel:
    try:
        return others.result()
    except ModelUnavailable as error:
        # A new one for each thread: raising one object in several threads mixes their tracebacks.
        raise ModelUnavailable(str(version), error.reason) from None
