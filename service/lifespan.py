"""From start to stop: load the models, look again while there is none, let the threads finish.

Knows the registry, and of the store only where its files are. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from service.logs import fields
from service.services import Services

#: How often an instance that is not ready looks whether the store has changed.
LOOK_AGAIN_S = 2.0

_log = logging.getLogger(__name__)
#: name / version / file
_STORE_DEPTH = 3
#: Path, size in bytes and time of the last change of each file; -1 for what cannot be read.
_Contents = frozenset[tuple[str, int, int]]


@contextlib.asynccontextmanager
async def run_services(services: Services, *, look_again_s: float = LOOK_AGAIN_S) -> AsyncIterator[None]:
    """Loads every model before the first request is taken; no store is bad enough to stop the start."""
    seen = await services.pool.run(_contents, services.store.root)
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
        await asyncio.to_thread(services.lanes.close)


async def _look_until_ready(services: Services, seen: _Contents, look_again_s: float) -> None:
    """Loads again whenever the store has changed, until the default model is ready.

    A store that stays the same is not loaded again: what failed once would fail, and be logged, again.
    """
    while not services.registry.readiness().ready:
        await asyncio.sleep(look_again_s)
        contents = await services.pool.run(_contents, services.store.root)
        if contents == seen:
            continue
        seen = contents
        await services.pool.run(services.registry.load_all)
        readiness = services.registry.readiness()
        _log.info("store changed", extra=fields(ready=readiness.ready, reason=readiness.reason))


def _contents(root: Path) -> _Contents:
    """What lies in the store, without reading any of it.

    Files rather than names and versions, so that a file put back, or the end of a copy that was caught half
    way, counts as a change, and so that one name that cannot be read hides no other.
    """
    return frozenset(_walk(root, _STORE_DEPTH))


def _walk(directory: Path, depth: int) -> Iterator[tuple[str, int, int]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # locks, and versions that are still being written
                status = entry.stat(follow_symlinks=False)
                yield entry.path, status.st_size, status.st_mtime_ns
                if depth > 1 and entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), depth - 1)
    except OSError:
        yield str(directory), -1, -1
