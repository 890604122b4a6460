"""From start to stop: load the models, look again while there is none, let the threads finish.

Knows the registry and the store. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from model_store import ModelStore, StoreError
from service.logs import fields
from service.services import Services

#: How often an instance that is not ready looks whether the store has changed.
LOOK_AGAIN_S = 2.0

_log = logging.getLogger(__name__)
_Contents = tuple[tuple[str, tuple[int, ...], tuple[tuple[str, int], ...]], ...]


@contextlib.asynccontextmanager
async def run_services(services: Services, *, look_again_s: float = LOOK_AGAIN_S) -> AsyncIterator[None]:
    """Loads every model before the first request is taken; no store is bad enough to stop the start."""
    seen = await services.pool.run(_contents, services.store)
    await services.pool.run(services.registry.load_all)
    services.lifecycle.loaded = True
    watcher = asyncio.create_task(_look_until_ready(services, seen, look_again_s))
    try:
        yield
    finally:
        services.lifecycle.draining = True
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await asyncio.to_thread(services.pool.close)


async def _look_until_ready(services: Services, seen: _Contents | None, look_again_s: float) -> None:
    """Loads again whenever the store has changed, until the default model is ready.

    A store that stays the same is not loaded again: what failed once would fail, and be logged, again.
    """
    while not services.registry.readiness().ready:
        await asyncio.sleep(look_again_s)
        contents = await services.pool.run(_contents, services.store)
        if contents == seen:
            continue
        seen = contents
        await services.pool.run(services.registry.load_all)
        readiness = services.registry.readiness()
        _log.info("store changed", extra=fields(ready=readiness.ready, reason=readiness.reason))


def _contents(store: ModelStore) -> _Contents | None:
    """Names, versions and aliases; cheap, because nothing is verified. None when the store cannot be read."""
    try:
        return tuple(
            (name, tuple(store.versions(name)), tuple(sorted(store.aliases(name).items())))
            for name in store.names()
        )
    except (StoreError, OSError):
        return None
