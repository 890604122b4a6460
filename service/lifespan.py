"""Start and stop: load the models, follow changes of the store, finish the threads.

Knows the registry and the mirror. Knows nothing of requests, nor of the contents of a store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from service.app_state import AppState
from service.log_fields import fields
from service.store_mirror import MirrorThread, StoreMirror
from service.thread_pool import startable_now, started_executor

#: Threads that read the store: for the watcher, SIGHUP, a reload over HTTP, and the end.
_STORE_THREADS = 4
#: Threads reserved for libraries, the log and the copy of a store.
_SPARE_THREADS = 8
_SHARE_S = 1.0
#: Seconds to wait for the copy of a store; a larger one is copied while the server already serves.
_FIRST_COPY_S = 20.0
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def run_services(app_state: AppState) -> AsyncIterator[None]:
    """Load all models before the first request. A defective store never prevents the start."""
    _start_threads(app_state)
    mirror = None if app_state.mirror is None else await _first_copy(app_state, app_state.mirror)
    seen = await app_state.pool.run(app_state.registry.signature)
    await app_state.pool.run(app_state.registry.load_all)
    app_state.lifecycle.loaded = True
    tasks = [asyncio.create_task(_keep_up(app_state, seen))]
    if app_state.reload_siblings is not None:
        tasks.append(asyncio.create_task(_share_metrics(app_state)))
    try:
        yield
    finally:
        app_state.lifecycle.draining = True
        if mirror is not None:
            mirror.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        app_state.metrics.flush()
        await asyncio.to_thread(app_state.pool.close)
        await asyncio.to_thread(app_state.worker_pool.close)


def _start_threads(app_state: AppState) -> None:
    """Start all threads now: a request must never be the first to discover that the system refuses one."""
    wanted = app_state.worker_pool.count
    needed = wanted + app_state.pool.threads + _STORE_THREADS + _SPARE_THREADS
    found = startable_now(needed)
    # The two pools share the available threads.
    each = needed if found == needed else (found - _STORE_THREADS - _SPARE_THREADS) // 2
    store, _ = started_executor(_STORE_THREADS, name="vae-store")
    asyncio.get_running_loop().set_default_executor(store)
    pool, workers = app_state.pool.start(each), app_state.worker_pool.start(each)
    if workers < wanted:
        _log.warning(
            "fewer threads than wanted",
            extra=fields(
                wanted=wanted,
                threads=workers,
                reason=f"the system starts {found} of {needed} threads; {pool} of them read and write",
                remedy="raise the limit of processes (pids_limit, ulimit -u), or lower --threads",
            ),
        )


async def reload_models(app_state: AppState) -> None:
    """On SIGHUP: read the whole store again, and retry what was refused."""
    await asyncio.to_thread(app_state.load_all)
    _tell(app_state, "models reloaded")


async def _first_copy(app_state: AppState, mirror: StoreMirror) -> MirrorThread:
    """Start the thread that copies the store. A copy that is not complete in time is used later."""

    def tell() -> None:
        for failure in mirror.failures:
            _log.error("not copied", extra=fields(model=failure.model, reason=failure.reason))
        if not mirror.failures:
            _log.info("copied again", extra=fields(store=mirror.address))

    thread = MirrorThread(mirror, every_s=app_state.settings.store_copy_s, told=tell)
    if not await asyncio.to_thread(thread.wait, _FIRST_COPY_S):
        _log.warning(
            "still being copied",
            extra=fields(store=mirror.address, to=str(mirror.directory), waited_s=_FIRST_COPY_S),
        )
    return thread


async def _keep_up(app_state: AppState, seen: object) -> None:
    """Read the store again after each change, and unload unused versions.

    It runs in a thread of the event loop, not in the pool that requests wait for: loading takes seconds.
    """
    settings, registry = app_state.settings, app_state.registry
    while True:
        await asyncio.sleep(settings.store_poll_s)
        found = await asyncio.to_thread(registry.signature)
        await asyncio.to_thread(registry.retire_idle, settings.model_idle_s)
        if found == seen:
            continue
        # A change during the reading differs from the snapshot before, and triggers the next reading.
        seen = found
        if await asyncio.to_thread(registry.refresh):
            _tell(app_state, "store changed")


async def _share_metrics(app_state: AppState) -> None:
    """With several workers: publish the gauges once a second, because any worker may answer for all."""
    while True:
        app_state.observe_moment()
        app_state.metrics.flush()
        await asyncio.sleep(_SHARE_S)


def _tell(app_state: AppState, event: str) -> None:
    readiness = app_state.registry.readiness()
    loaded = ",".join(model.label for model in app_state.registry.loaded())
    _log.info(
        event,
        extra=fields(
            ready=readiness.ready,
            reason=readiness.reason,
            models=loaded,
            failures=len(app_state.failures()),
        ),
    )
