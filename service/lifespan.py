"""From start to stop: load the models, keep up with the store, let the threads finish.

Knows the registry and the mirror. Knows nothing of requests, nor of what lies in a store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from service.app_state import Services
from service.log_fields import fields
from service.store_mirror import MirrorThread, StoreMirror
from service.thread_pool import startable_now, started_executor

#: For what reads the store: the watcher, SIGHUP, a reload over HTTP, and the end.
_STORE_THREADS = 4
#: Left to libraries, the log and the copy of a store.
_SPARE_THREADS = 8
_SHARE_S = 1.0
#: A larger store goes on being copied while what is there is served.
_FIRST_COPY_S = 20.0
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def run_services(services: Services) -> AsyncIterator[None]:
    """Loads every model before the first request is taken; no store is bad enough to stop the start."""
    _start_threads(services)
    mirror = None if services.mirror is None else await _first_copy(services, services.mirror)
    seen = await services.pool.run(services.registry.signature)
    await services.pool.run(services.registry.load_all)
    services.lifecycle.loaded = True
    tasks = [asyncio.create_task(_keep_up(services, seen))]
    if services.reload_siblings is not None:
        tasks.append(asyncio.create_task(_share_metrics(services)))
    try:
        yield
    finally:
        services.lifecycle.draining = True
        if mirror is not None:
            mirror.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        services.metrics.flush()
        await asyncio.to_thread(services.pool.close)
        await asyncio.to_thread(services.worker_pool.close)


def _start_threads(services: Services) -> None:
    """All of them now: a request must never be the first to find out that no more may be started."""
    wanted = services.worker_pool.count
    needed = wanted + services.pool.threads + _STORE_THREADS + _SPARE_THREADS
    found = startable_now(needed)
    # Two pools share what there is.
    each = needed if found == needed else (found - _STORE_THREADS - _SPARE_THREADS) // 2
    store, _ = started_executor(_STORE_THREADS, name="vae-store")
    asyncio.get_running_loop().set_default_executor(store)
    pool, workers = services.pool.start(each), services.worker_pool.start(each)
    if workers < wanted:
        _log.warning(
            "fewer threads than wanted",
            extra=fields(
                wanted=wanted,
                threads=workers,
                reason=f"the system starts {found} threads of {needed}; {pool} of them read and write",
                remedy="raise the limit of processes (pids_limit, ulimit -u), or lower --threads",
            ),
        )


async def reload_models(services: Services) -> None:
    """What SIGHUP asks for: the whole store read again, and what was refused tried again."""
    await asyncio.to_thread(services.load_all)
    _tell(services, "models reloaded")


async def _first_copy(services: Services, mirror: StoreMirror) -> MirrorThread:
    """The thread that copies the store from now on. What it has not copied in time is taken over later."""

    def tell() -> None:
        for failure in mirror.failures:
            _log.error("not copied", extra=fields(model=failure.model, reason=failure.reason))
        if not mirror.failures:
            _log.info("copied again", extra=fields(store=mirror.address))

    thread = MirrorThread(mirror, every_s=services.settings.store_copy_s, told=tell)
    if not await asyncio.to_thread(thread.wait, _FIRST_COPY_S):
        _log.warning(
            "still being copied",
            extra=fields(store=mirror.address, to=str(mirror.directory), waited_s=_FIRST_COPY_S),
        )
    return thread


async def _keep_up(services: Services, seen: object) -> None:
    """Reads the store again whenever it looks different, and lets go of what nobody uses.

    In a thread of the loop's own, not in one of those that requests wait for: loading takes seconds.
    """
    settings, registry = services.settings, services.registry
    while True:
        await asyncio.sleep(settings.store_poll_s)
        found = await asyncio.to_thread(registry.signature)
        await asyncio.to_thread(registry.retire_idle, settings.model_idle_s)
        if found == seen:
            continue
        # What changes while it is read differs from what was found before, and is read the next time.
        seen = found
        if await asyncio.to_thread(registry.refresh):
            _tell(services, "store changed")


async def _share_metrics(services: Services) -> None:
    """Of several workers: whichever is asked tells the sums, so each says once a second how it stands."""
    while True:
        services.observe_moment()
        services.metrics.flush()
        await asyncio.sleep(_SHARE_S)


def _tell(services: Services, event: str) -> None:
    readiness = services.registry.readiness()
    loaded = ",".join(model.label for model in services.registry.loaded())
    _log.info(
        event,
        extra=fields(
            ready=readiness.ready,
            reason=readiness.reason,
            models=loaded,
            failures=len(services.failures()),
        ),
    )
