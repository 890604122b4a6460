"""The parts that every route may use; `create_app` assembles them.

Knows names only; it holds the parts and has no logic of its own.
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
from service.thread_pool import Room, WorkPool


@dataclass
class Lifecycle:
    """The stage of the process; the only mutable part of the state."""

    loaded: bool = False
    """The registry has looked at the store once."""
    draining: bool = False
    """SIGTERM or SIGINT came: accept no new work."""


@dataclass(frozen=True)
class AppState:
    """The parts that every route may use."""

    settings: Settings
    store: ModelStore
    limits: Limits
    worker_pool: WorkerPool
    registry: ModelRegistry
    pool: WorkPool
    picture_room: Room
    """Pixels of large pictures that are decoded at the same time."""
    metrics: Metrics
    lifecycle: Lifecycle
    access: Access
    cross_origin: CrossOrigin
    address: PublicAddress
    mirror: StoreMirror | None = None
    """Only for a store with an address; `store` is the local copy."""
    reload_siblings: Callable[[], bool] | None = None
    """Only for one of several workers: asks the others to read the store again."""

    def observe_moment(self) -> None:
        """Updates the gauges of the current state."""
        self.metrics.observe_models(
            loaded=[(model.label, model.manifest.kind) for model in self.registry.loaded()],
            failures=len(self.failures()),
            ready=self.lifecycle.loaded and not self.lifecycle.draining and self.registry.readiness().ready,
            waiting_images=self.worker_pool.waiting,
        )
        self.metrics.observe_log(lost_lines())

    def failures(self) -> tuple[LoadFailure, ...]:
        """Models that cannot be served or fetched, and the reasons."""
        return (*self.registry.failures(), *(self.mirror.failures if self.mirror else ()))

    def ignored(self) -> tuple[LoadFailure, ...]:
        """Entries of the store that may belong to another program, and why they are not served."""
        return (*self.registry.ignored(), *(self.mirror.ignored if self.mirror else ()))

    def load_all(self) -> None:
        """Read the whole store again and retry what was refused.

        It runs in the caller's thread and may take long.
        """
        if self.mirror is not None:
            self.mirror.sync(again=True)
        self.registry.load_all()

    @property
    def store_root(self) -> str:
        """Origin of the models, for logs and people."""
        return str(self.store.root) if self.mirror is None else self.mirror.address
