"""One uvicorn process for the application: socket, signals, start and stop.

Knows uvicorn and the settings. Knows nothing of routes, models or codecs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.app_state import AppState
from service.engine import ThreadBudget, allowed_threads
from service.http.addresses import plain_address
from service.http.protocol import RESERVED_CONNECTIONS, SWEEP_S, ConnectionBounds, ProblemProtocol
from service.http.unread_answers import MOST_CLOSING, ClosingSockets, limit_unsent
from service.lifespan import reload_models
from service.log_fields import fields
from service.process import draining, early
from service.process.acceptor import Acceptor
from service.process.again import Again
from service.process.grpc_port import GrpcPort
from service.process.sockets import bind
from service.process.thread_room import (
    GRPC_THREADS,
    OTHER_THREADS,
    family_of,
    fit_threads,
    thread_room,
)
from service.process.worker import WorkerPlace
from service.settings import Settings

#: Open files other than connections: listener, log, store, libraries.
_OTHER_FILES = 64
#: A client may take this many receipt deadlines before it reads any more of its response. It may be busy with
#: the part that it has read; a client that sends has nothing else to do.
_STALL_FACTOR = 2.0
_HEARTBEAT_S = 1.0
_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server; it informs the application as soon as a stop begins."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        app_state: AppState,
        closing: ClosingSockets,
        budget: ThreadBudget,
        started_s: float,
        place: WorkerPlace | None,
        grpc: GrpcPort | None = None,
    ) -> None:
        super().__init__(config)
        self._grpc = grpc
        self._budget = budget
        self._app_state = app_state
        self._closing = closing
        self._started_s = started_s
        self._delay_s = 0.0
        self._place = place
        self.interrupted_early = False
        """Whether Ctrl-C came before the server served."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, start the sweep of slow connections, and handle SIGHUP."""
        # Several workers accept through `Acceptor`, their own connections and waiting ones of others. A
        # single server lets uvicorn accept.
        await super().startup(sockets if self._place is None else [])
        self._acceptors = (
            [] if self._place is None else [Acceptor(*self._place.listeners, make_protocol=self._protocol)]
        )
        await self._open_grpc()
        self._sweeper = asyncio.create_task(self._sweep())
        self._rereading = Again(self._read_again)
        self._listen_for_hangups(asyncio.get_running_loop())
        settle_collector()
        if self._place is not None:
            self._heart = asyncio.create_task(_beat(self._place.beat))
        _announce(self._app_state, sockets or [], self._started_s, self._budget)

    def _listen_for_hangups(self, loop: asyncio.AbstractEventLoop) -> None:
        """On SIGHUP, read the store and the key file again; also for a SIGHUP during the loading of models.

        The event loop removes its own signal handlers when it closes, and the default action would end the
        process. So this handler is Python's.
        """

        def hang_up(*_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the server no longer serves
                loop.call_soon_threadsafe(self._rereading.ask)

        signal.signal(signal.SIGHUP, hang_up)
        if early.hangup_was_held():
            self._rereading.ask()

    async def _read_again(self) -> None:
        """Read again what an operator may change while the server runs."""
        self._app_state.access.reread()
        await reload_models(self._app_state)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain: not ready at once, and stop after the drain delay on SIGTERM."""
        self.interrupted_early |= sig == signal.SIGINT and not self.started
        self._app_state.lifecycle.draining = True
        self._delay_s = self._app_state.settings.drain_delay_s if sig == signal.SIGTERM else 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish all accepted requests, in the order that loses none; see `draining.py`."""
        finishing = asyncio.create_task(self._finish_grpc())
        # uvicorn waits for these tasks before it ends the lifespan, which ends the threads.
        self.server_state.tasks.add(finishing)
        finishing.add_done_callback(self.server_state.tasks.discard)
        await draining.linger(
            self._protocols,
            # Several workers share one socket. The supervisor makes it refuse when all of them stop.
            listeners=sockets or [] if self._place is None else [],
            accepting_s=0.0 if self._place is None else draining.SHARED_LINGER_S,
            servers=[*self.servers, *self._acceptors],
            delay_s=self._delay_s,
            is_forced=lambda: self.force_exit,
        )
        await super().shutdown(sockets)
        await asyncio.wait({finishing})
        self._sweeper.cancel()
        for protocol in self._protocols():
            if protocol.transport.get_write_buffer_size():
                protocol.reset()  # the grace time is over; the kernel would keep half a response for minutes
        self._closing.release()

    async def _open_grpc(self) -> None:
        if self._grpc is None:
            return
        try:
            await self._grpc.open()
        except BaseException:
            await self.lifespan.shutdown()
            raise

    async def _finish_grpc(self) -> None:
        """Finish all accepted calls of gRPC, at the same time as HTTP's requests."""
        if self._grpc is not None:
            await self._grpc.finish(delay_s=self._delay_s, is_forced=lambda: self.force_exit)

    def _protocol(self) -> asyncio.Protocol:
        """Create the protocol of a connection, as uvicorn does for connections that it accepts."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _protocols(self) -> list[ProblemProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, ProblemProtocol)]

    async def _sweep(self) -> None:
        """Close late connections, also while the server stops."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = time.monotonic()
            for protocol in self._protocols():
                protocol.sweep(now_s)
            self._closing.sweep(now_s)


async def _beat(heartbeat: Callable[[], None]) -> None:
    """Report to the supervisor that the event loop turns, until the process ends."""
    while True:
        heartbeat()
        await asyncio.sleep(_HEARTBEAT_S)


def serve(
    app: FastAPI,
    settings: Settings,
    *,
    budget: ThreadBudget,
    started_s: float,
    place: WorkerPlace | None = None,
) -> None:
    """Listen until SIGTERM or SIGINT, let running requests finish, and return.

    Args:
        app: The application that `create_app` made.
        settings: The settings of the server.
        budget: The number of threads, and its reason.
        place: For one of several workers: its sockets, and its pipe to the supervisor.
        started_s: Start time of the process, on the clock of `time.perf_counter`.

    Raises:
        AddressError: Before any model was loaded.
        KeyboardInterrupt: Ctrl-C before the server served, except in a worker, whose supervisor reports it.
    """
    app_state: AppState = app.state.app_state
    listeners = list(place.listeners) if place else [bind(settings.host, settings.port)]
    grpc = None if app.state.grpc is None else GrpcPort(app.state.grpc, settings, place)
    for listener in listeners:
        limit_unsent(listener)  # connections inherit it
    protocol = ProblemProtocol.bounded(
        app_state.metrics,
        connection_bounds(settings),
        cross_origin=app_state.cross_origin,
        address=app_state.address,
    )
    config = uvicorn.Config(
        app,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # service.http.forwarded reads them, and knows IPv4 behind `::`
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    # uvicorn raises the signal again at its end; our handler turns that into exit code 0.
    signal.signal(signal.SIGTERM, _exit_cleanly)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    early.leave_orphans_to_system()
    server = Server(
        config,
        app_state=app_state,
        closing=protocol.closing,
        budget=budget,
        started_s=started_s,
        place=place,
        grpc=grpc,
    )
    try:
        server.run(sockets=listeners)
    except KeyboardInterrupt:
        if place is None and (server.interrupted_early or not server.started):
            raise
    finally:
        for listener in listeners:
            listener.close()
        if grpc is not None:
            grpc.release()
        _log.info("stopped")


def connection_bounds(settings: Settings) -> ConnectionBounds:
    """Raise the limit of open files as far as allowed, and bound the settings by it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections, closing = settings.max_connections, MOST_CLOSING
    if files != resource.RLIM_INFINITY:
        closing = min(closing, files // 8)
        connections = min(connections, max(1, files - closing - RESERVED_CONNECTIONS - _OTHER_FILES))
    return ConnectionBounds(
        receipt_s=settings.receipt_timeout_s,
        stall_s=_STALL_FACTOR * settings.receipt_timeout_s,
        connections=connections,
        closing=closing,
    )


def settle_collector() -> None:
    """Exclude all objects alive now from garbage collection, and collect less often.

    Objects that live after the start live to the end. Parsing 1 MiB of nested JSON, which creates 400,000
    lists, took 207 ms before and 26 ms after, because the collector scanned the whole heap again and again
    (test_hostile_payloads bounds it).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def thread_budget(settings: Settings, place: WorkerPlace | None = None) -> ThreadBudget:
    """Number of threads that run models, and its reason: a setting, or a share of the cores.

    Args:
        settings: May contain the number.
        place: For one of several workers.
    """
    processes = 1 if place is None else place.of
    if settings.threads is not None:
        wanted = ThreadBudget(settings.threads, "set by --threads or VAE_THREADS")
    else:
        cores = allowed_threads()
        why = cores.why if processes == 1 else f"its share among {processes} workers: {cores.why}"
        wanted = ThreadBudget(max(1, cores.threads // processes), why)
    room = thread_room(family_of(None if place is None else place.parent))
    others = OTHER_THREADS if settings.grpc_port is None else OTHER_THREADS + GRPC_THREADS
    return fit_threads(wanted, room=room, processes=processes, others=others)


def _announce(
    app_state: AppState, sockets: list[socket.socket], started_s: float, budget: ThreadBudget
) -> None:
    """Log the facts that an operator needs first."""
    readiness = app_state.registry.readiness()
    host, port = (
        sockets[0].getsockname()[:2] if sockets else (app_state.settings.host, app_state.settings.port)
    )
    host = plain_address(host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    values: dict[str, Any] = {
        "address": url,
        "models": ",".join(model.label for model in app_state.registry.loaded()) or "none",
        "threads": app_state.worker_pool.count,
        "why": budget.why,
        "store": app_state.store_root,
        "start_ms": 1e3 * (time.perf_counter() - started_s),
    }
    if readiness.ready:
        _log.info("serving", extra=fields(**values, try_it=f"curl {url}/sample.txt"))
    else:
        _log.error(
            "serving, but not ready", extra=fields(**values, reason=readiness.reason, remedy=readiness.remedy)
        )
    app_state.access.warn_when_exposed(host)


def _exit_cleanly(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
