"""One replica of a deployment: its application, its configuration, its health, its metrics.

Knows the application and its store. Knows nothing of Ray but the names of the methods that Ray calls, and
gets what it needs of Ray as functions. A replica has a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI

from model_store.pinned_store import PinnedStore
from service.app import create_app
from service.app_state import AppState
from service.log_fields import fields
from service.observability.logs import configure_logging
from service.ray_serve.deployment import Arguments, ReplicaConfig, read_replica_config
from service.ray_serve.mirrored_metrics import MakeGauge, MirroredMetrics
from service.settings import SettingsError

#: Seconds between two copies of the metrics; Ray's agents collect them every 10 s.
METRICS_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class NotReady(Exception):
    """The default model cannot be served; the message contains the remedy."""


def make_app(arguments: Arguments, *, threads: int, make_gauge: MakeGauge) -> FastAPI:
    """The application of a replica, which logs to standard error as `vae-serve` does.

    Args:
        arguments: The arguments of the application.
        threads: Threads of one model run, if the settings contain no number.
        make_gauge: Makes a gauge of Ray.

    Raises:
        SettingsError: A setting is invalid.
    """
    settings = arguments.read(threads=threads)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    app = create_app(settings, as_read=PinnedStore)
    app_state: AppState = app.state.app_state
    app.router.lifespan_context = _exporting(app.router.lifespan_context, app_state, make_gauge)
    return app


Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[Any]]


def _exporting(lifespan: Lifespan, app_state: AppState, make_gauge: MakeGauge) -> Lifespan:
    """The same lifespan, during which the metrics are copied to Ray's."""
    mirror = MirroredMetrics(app_state.metrics.registry, make_gauge)

    async def export() -> None:
        while True:
            app_state.observe_moment()
            app_state.metrics.flush()
            mirror.copy()
            await asyncio.sleep(METRICS_EVERY_S)

    @contextlib.asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            task = asyncio.create_task(export())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait({task})

    return both


class Replica:
    """The deployment. `serve.ingress` adds `app`, the application of `make_app`."""

    app: FastAPI
    _config: ReplicaConfig | None = None

    @property
    def _state(self) -> AppState:
        state: AppState = self.app.state.app_state
        return state

    async def reconfigure(self, user_config: object) -> None:
        """Point aliases to other versions, verified and loaded, while the present ones serve.

        Ray replaces a replica that raises here. So a running one keeps its configuration instead: what it
        serves is sound, and a new replica would refuse the same.

        Args:
            user_config: See `ReplicaConfig`.

        Raises:
            SettingsError: It is no such configuration, and the replica has none yet.
        """
        try:
            config = read_replica_config(user_config)
        except SettingsError as error:
            if self._config is None:
                raise
            _log.error("user_config refused", extra=fields(reason=str(error)))
            return
        before, self._config = self._config or ReplicaConfig(), config
        if before == config:
            return
        store = self._state.store
        assert isinstance(store, PinnedStore)
        store.pins = config.aliases
        await asyncio.to_thread(self._state.load_all)
        _log.info("user_config applied", extra=fields(aliases=_text(config)))

    async def check_health(self) -> None:
        """Ray replaces a replica that raises here three times.

        Raises:
            NotReady: The replica would answer /readyz with 503.
        """
        readiness = self._state.registry.readiness()
        if not readiness.ready:
            raise NotReady(f"{readiness.reason} {readiness.remedy}")


def _text(config: ReplicaConfig) -> str:
    pins = [
        f"{name}@{alias}={version}"
        for name, targets in sorted(config.aliases.items())
        for alias, version in sorted(targets.items())
    ]
    return ",".join(pins) or "those of the store"
