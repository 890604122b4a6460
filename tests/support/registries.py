"""Registries over small stores, for the engine's tests: in one call, watched, and with a clock of their own.

Knows the public names of the store and of the engine. Knows nothing of what is tested with them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_models import LATENT, SHAPE
from patience import PATIENCE_S
from tiny_models import TinyModel, publish_tiny

from model_store import ModelReference, ModelStore, PublishedModel, VersionId
from service.engine import ModelRegistry, WorkerPool


class CountingStore(ModelStore):
    """Counts what is opened, and can hold openings up until it is told to go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: Counter[str] = Counter()
        self.resolved: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)

    def open(self, reference: str | ModelReference | VersionId) -> PublishedModel:
        self.opened[str(reference)] += 1
        self.waiting.release()
        assert self.gate.wait(PATIENCE_S)
        return super().open(reference)

    def resolve(
        self, reference: str | ModelReference | VersionId, *, aliases: Mapping[str, int] | None = None
    ) -> VersionId:
        self.resolved[str(reference)] += 1
        return super().resolve(reference, aliases=aliases)


def publish(
    store: ModelStore, name: str = "tiny", *, seed: int = 0, aliases: tuple[str, ...] = (), **parts: Any
) -> VersionId:
    return publish_tiny(
        store, name=name, image_shape=SHAPE, latent_size=LATENT, seed=seed, aliases=aliases, **parts
    )


def broken(store: ModelStore, name: str = "tiny", *, aliases: tuple[str, ...] = ()) -> VersionId:
    """Intact on disk, and answers NaN."""
    model = TinyModel.make(image_shape=SHAPE, latent_size=LATENT)
    return publish_tiny(store, name=name, model=model, decoder=model.decoder_of_nan, aliases=aliases)


def registry(store: ModelStore, default: str = "tiny", **settings: Any) -> ModelRegistry:
    chosen: dict[str, Any] = {
        "default": default,
        "threads": 1,
        "max_loaded": 2,
        "worker_pool": WorkerPool(1),
        **settings,
    }
    made = ModelRegistry(store, **chosen)
    made.load_all()
    return made


def labels(models: ModelRegistry) -> list[str]:
    return [model.label for model in models.loaded()]
