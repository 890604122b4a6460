"""What the routes are handed: the parts that `create_app` puts together.

Knows names only; it holds the parts and does nothing with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_store import ModelStore
from service.engine import LoadFailure, ModelRegistry, WorkerPool
from service.http.cross_origin import CrossOrigin
from service.http.parameters import Limits
from service.http.public_address import PublicAddress
from service.observability.logs import lost_lines
from service.observability.metrics import Metrics
from service.security.access import Access
from service.settings import Settings
from service.store_mirror import StoreMirror
from service.thread_pool import WorkPool


@dataclass
class Lifecycle:
    """Where the process is in its life; the one thing here that changes."""

    loaded: bool = False
    """The registry has looked at the store once."""
    draining: bool = False
    """SIGTERM or SIGINT came: no new work is wanted."""


@dataclass(frozen=True)
class Services:
    """Everything a route may use."""

    settings: Settings
    store: ModelStore
    limits: Limits
    worker_pool: WorkerPool
    registry: ModelRegistry
    pool: WorkPool
    metrics: Metrics
    lifecycle: Lifecycle
    access: Access
    cross_origin: CrossOrigin
    address: PublicAddress
    mirror: StoreMirror | None = None
    """Of a store with an address; `store` is the copy."""
    reload_siblings: Callable[[], bool] | None = None
    """For one of several workers: has the others read the store again."""

    def observe_moment(self) -> None:
        """Sets the gauges that tell how things stand now."""
        self.metrics.observe_models(
            loaded=[(model.label, model.manifest.kind) for model in self.registry.loaded()],
            failures=len(self.failures()),
            ready=self.lifecycle.loaded and not self.lifecycle.draining and self.registry.readiness().ready,
            waiting_images=self.worker_pool.waiting,
        )
        self.metrics.observe_log(lost_lines())

    def failures(self) -> tuple[LoadFailure, ...]:
        """What cannot be served, or not even fetched, and why."""
        return (*self.registry.failures(), *(self.mirror.failures if self.mirror else ()))

    def ignored(self) -> tuple[LoadFailure, ...]:
        """Entries of the store that may belong to someone else, and why they are not served."""
        return (*self.registry.ignored(), *(self.mirror.ignored if self.mirror else ()))

    def load_all(self) -> None:
        """Reads the whole store again and tries again what was refused; may take long, in this thread."""
        if self.mirror is not None:
            self.mirror.sync(again=True)
        self.registry.load_all()

    @property
    def store_root(self) -> str:
        """Where the models come from, for logs and people."""
        return str(self.store.root) if self.mirror is None else self.mirror.address
