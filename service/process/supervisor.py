"""Several server processes on one address: start, watch, replace and stop them together.

Knows processes, signals and pipes. Knows nothing of HTTP or of models, and imports neither, so that it stays
small. Its only thread besides the main one writes the log.

Each worker has its own listening socket (SO_REUSEPORT), and the supervisor keeps all of them. Connections are
distributed evenly, and other workers accept those that wait for a worker that died or hangs. Each worker is a
fresh interpreter (onnxruntime must not be carried over a fork, microsoft/onnxruntime#9800). A worker writes
one byte a second into a pipe. The first byte reports that it serves, and the end of the pipe that it has
ended. The supervisor asks a silent worker where it stands, and ends it if it stays silent. Only time in which
the supervisor itself was awake counts (`process/watch.py`).

    SIGTERM, SIGINT   passed to every worker; the supervisor ends when all have ended
    SIGHUP            passed to every worker: each reads the store and the key file again. A worker that still
                      starts has the signal blocked, and handles it as soon as it can
    a worker dies     logged with its exit code or signal, and replaced, after a delay that grows each time
    it never served   the supervisor ends with its exit code: the other workers would fail too
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from model_store.interrupts import EXIT_INTERRUPTED
from service.log_fields import fields
from service.process.shared_files import VARIABLE as METRICS_VARIABLE
from service.process.shared_files import shared_directory
from service.process.sockets import address_text, bind_shared, refuse_new_connections, reserve
from service.process.watch import AwakeClock, Silence, Verdict, innermost_frames
from service.process.worker import ASK_SIGNAL, RELOAD_ALL, WORKER_VARIABLE, Handover
from service.settings import Settings

#: A serving worker that is silent for this long is questioned.
_SILENCE_S = 15.0
#: Maximum time for a worker to load its models.
_START_S = 120.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
#: A worker that served for this long did not die from the conditions of its start.
_SOUND_S = 60.0
#: Interval between checks of the workers, in service and during a stop: a stopping worker accepts for another
#: quarter of a second.
_LOOK_S, _LOOK_STOPPING_S = 0.25, 0.05
#: A longer pause between two checks means that the supervisor itself did not run.
_ASLEEP_S = 2.0
#: Signals that a worker has blocked until it can handle them.
_HELD_FOR_WORKERS: Final = (signal.SIGHUP, ASK_SIGNAL)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """One process and its pipes."""

    number: int
    process: subprocess.Popen[bytes]
    heartbeat: int
    stack: int
    started_s: float
    """On the monotonic clock; the following times are on the clock of a watcher that may sleep."""
    silence: Silence
    serves: bool = False
    is_told_to_stop: bool = False
    told_s: float = 0.0


@dataclass
class _Slot:
    """One position among the workers; replacements take the same position."""

    number: int
    worker: _Worker | None = None
    start_again_s: float = 0.0
    pause_s: float = field(default=_FIRST_PAUSE_S)


class Supervisor:
    """Keeps `settings.workers` workers on one socket."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        """No worker is started yet.

        Args:
            settings: For all workers.
            arguments: The command line of `run`, which every worker also receives.
        """
        self._settings = settings
        self._arguments = list(arguments)
        self._slots = [_Slot(number) for number in range(settings.workers)]
        self._selector = selectors.DefaultSelector()
        self._exit_code: int | None = None  # set when it shall end
        self._refuse_at_s: float | None = None  # on the monotonic clock; set when all workers shall stop
        self._announced = False
        self._grpc_address: str | None = None
        self._started_s = time.monotonic()
        self._clock = AwakeClock(look_s=_LOOK_S, longest_s=_ASLEEP_S)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and return the exit code.

        It is 130 if SIGINT came before all workers served.

        Raises:
            AddressError: Before any worker was started.
            NoDirectoryError: Before any worker was started: no directory can hold the shared metrics.
        """
        with contextlib.ExitStack() as stack:
            pending = stack.enter_context(self._signals())
            stack.callback(self._selector.close)
            listeners = bind_shared(self._settings.host, self._settings.port, self._settings.workers)
            for listener in listeners:
                stack.callback(listener.close)
            if self._settings.grpc_port is not None:
                reserved = reserve(self._settings.host, self._settings.grpc_port, setting="grpc_port")
                stack.callback(reserved.close)
                self._grpc_address = address_text(reserved)
            metrics = stack.enter_context(shared_directory(self._settings.workers))
            self._selector.register(pending, selectors.EVENT_READ)
            while self._exit_code is None or any(slot.worker for slot in self._slots):
                self._start_missing(listeners, metrics)
                for key, _ in self._selector.select(timeout=self._pause_s()):
                    if key.data is None:
                        self._handle_signals(pending, listeners)
                    else:
                        self._hear(key.data)
                self._refuse_if_due(listeners)
                self._look_after(metrics)
                self._bury_orphans()
        _log.info("all workers stopped")
        return self._exit_code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """A socket that receives a byte for each signal."""
        pending, wakeup = socket.socketpair()
        pending.setblocking(False)
        wakeup.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        old = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        try:
            yield pending
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            pending.close()
            wakeup.close()

    def _handle_signals(self, pending: socket.socket, listeners: Sequence[socket.socket]) -> None:
        for number in pending.recv(64):
            if number == signal.SIGCHLD:
                continue  # the loop below notices ended workers
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._exit_code is None:
                    early = number == signal.SIGINT and not self._announced
                    self._exit_code = EXIT_INTERRUPTED if early else 0
                delay_s = self._settings.drain_delay_s if number == signal.SIGTERM else 0.0
                self._refuse_at_s = time.monotonic() + delay_s
                self._refuse_if_due(listeners)
            self._tell_all(signal.Signals(number))

    def _pause_s(self) -> float:
        return _LOOK_S if self._refuse_at_s is None else _LOOK_STOPPING_S

    def _refuse_if_due(self, listeners: Sequence[socket.socket]) -> None:
        """Refuse new connections, when all workers stop.

        A single worker must never do that: the others, and its replacement, accept from the same socket.
        """
        if self._refuse_at_s is None or time.monotonic() < self._refuse_at_s or listeners[0].fileno() < 0:
            return
        for listener in listeners:
            refuse_new_connections(listener)
        # The workers have copies of the sockets, and close them after they have emptied their queues.
        for listener in listeners:
            listener.close()

    def _tell_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.worker is not None:
                if number == signal.SIGHUP and slot.worker.is_told_to_stop:
                    continue  # it reads no further commands
                if number != signal.SIGHUP and not slot.worker.is_told_to_stop:
                    slot.worker.is_told_to_stop, slot.worker.told_s = True, self._clock.now_s
                slot.worker.process.send_signal(number)

    def _start_missing(self, listeners: Sequence[socket.socket], metrics: Path) -> None:
        now_s = time.monotonic()
        for slot in self._slots:
            if slot.worker is None and self._exit_code is None and now_s >= slot.start_again_s:
                try:
                    slot.worker = self._start(slot.number, listeners, metrics)
                except OSError as error:
                    self._cannot_start(slot, error)

    def _cannot_start(self, slot: _Slot, error: OSError) -> None:
        """The system refuses a new process: running workers continue, and the start is retried later."""
        _log.error(
            "worker cannot be started",
            extra=fields(
                worker=slot.number,
                reason=str(error),
                remedy="raise the limit of processes (pids_limit, ulimit -u), or lower --workers",
            ),
        )
        if not self._announced:
            self._exit_code = 1
            self._tell_all(signal.SIGTERM)
            return
        slot.pause_s = min(_LONGEST_PAUSE_S, 2 * slot.pause_s)
        slot.start_again_s = time.monotonic() + slot.pause_s

    def _start(self, number: int, listeners: Sequence[socket.socket], metrics: Path) -> _Worker:
        pipes = [os.pipe(), os.pipe()]
        (heartbeat, their_heartbeat), (stack, their_stack) = pipes
        own_first = [*listeners[number:], *listeners[:number]]
        handover = Handover(
            number=number,
            parent=os.getpid(),
            heartbeat=their_heartbeat,
            stack=their_stack,
            listeners=[listener.fileno() for listener in own_first],
            grpc_address=self._grpc_address,
        )
        environment = {
            **os.environ,
            WORKER_VARIABLE: handover.to_text(),
            METRICS_VARIABLE: str(metrics),
        }
        # Blocked signals stay blocked in a new process, and wait there.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_FOR_WORKERS)
        try:
            process = subprocess.Popen(  # noqa: S603  (this program, with the arguments it got itself)
                [sys.executable, "-m", "service", *self._arguments],
                env=environment,
                pass_fds=(*handover.listeners, their_heartbeat, their_stack),
                # Ctrl-C reaches only the supervisor, which passes it on once.
                process_group=0,
            )
        except OSError:
            os.close(heartbeat)
            os.close(stack)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(their_heartbeat)
            os.close(their_stack)
        for ours in (heartbeat, stack):
            os.set_blocking(ours, False)
        worker = _Worker(
            number,
            process,
            heartbeat,
            stack,
            started_s=time.monotonic(),
            silence=Silence(heard_s=self._clock.look()),
        )
        self._selector.register(heartbeat, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(worker.heartbeat, 4096)
            if not said:
                # the worker is ending; the loop below sees its exit code
                self._selector.unregister(worker.heartbeat)
                return
        if not worker.is_told_to_stop and worker.silence.hear(self._clock.look()):
            _log.info("worker answers again", extra=fields(worker=worker.number, pid=worker.process.pid))
        if RELOAD_ALL in said:
            self._tell_all(signal.SIGHUP)
        if not worker.serves:
            worker.serves = True
            self._announce()

    def _look_after(self, metrics: Path) -> None:
        """Reap ended workers, question silent ones, and end hanging ones."""
        now_s = self._clock.look()
        for slot in self._slots:
            worker = slot.worker
            if worker is None:
                continue
            code = worker.process.poll()
            if code is not None:
                self._bury(slot, worker, code, metrics)
                continue
            verdict = worker.silence.judge(now_s, latest_s=self._latest_s(worker))
            if verdict is Verdict.ASK:
                worker.process.send_signal(ASK_SIGNAL)
            elif verdict is Verdict.END:
                _log.error(
                    "worker hangs",
                    extra=fields(worker=worker.number, pid=worker.process.pid, **_stands(worker.stack)),
                )
                worker.process.kill()

    def _bury_orphans(self) -> None:
        """Reap orphans that the supervisor inherits as process 1, such as those of `docker exec`.

        Each unreaped process would count against the limit of processes.
        """
        if os.getpid() != 1:
            return
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                # `_look_after` needs the exit codes of workers; the other processes come later.
                if any(slot.worker and slot.worker.process.pid == found.si_pid for slot in self._slots):
                    return
                os.waitpid(found.si_pid, 0)

    def _latest_s(self, worker: _Worker) -> float:
        """Deadline for the next byte of a worker, or for its end."""
        if worker.is_told_to_stop:
            return worker.told_s + self._settings.drain_delay_s + self._settings.shutdown_grace_s + _SILENCE_S
        return worker.silence.heard_s + (_SILENCE_S if worker.serves else _START_S)

    def _bury(self, slot: _Slot, worker: _Worker, code: int, metrics: Path) -> None:
        slot.worker = None
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.heartbeat)
        os.close(worker.heartbeat)
        os.close(worker.stack)
        # Its counts stay in the sums and its successor continues them; its running requests are lost.
        for gauge in metrics.glob(f"gauge_live*_{worker.number}.db"):
            gauge.unlink(missing_ok=True)
        if worker.is_told_to_stop:
            unheard = not worker.serves and -code in (signal.SIGTERM, signal.SIGINT)
            if code and not unheard:  # a worker that had not begun to serve ends by the signal itself
                self._exit_code = self._exit_code or (code if code > 0 else 128 - code)
            return
        how = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
        _log.error("worker died", extra=fields(worker=worker.number, pid=worker.process.pid, **how))
        if not worker.serves and not self._announced:
            self._exit_code = (code if code > 0 else 128 - code) or 1
            self._tell_all(signal.SIGTERM)
            return
        now_s = time.monotonic()
        slot.pause_s = (
            _FIRST_PAUSE_S if now_s - worker.started_s > _SOUND_S else min(_LONGEST_PAUSE_S, 2 * slot.pause_s)
        )
        slot.start_again_s = now_s + slot.pause_s / 2

    def _announce(self) -> None:
        """Called once, when the last worker serves."""
        if self._announced or not all(slot.worker and slot.worker.serves for slot in self._slots):
            return
        self._announced = True
        _log.info(
            "workers serve",
            extra=fields(
                workers=len(self._slots),
                pids=",".join(str(slot.worker.process.pid) for slot in self._slots if slot.worker),
                start_ms=1e3 * (time.monotonic() - self._started_s),
            ),
        )


def _stands(stack: int) -> dict[str, str]:
    """The stack of a worker, if it answered the question."""
    with contextlib.suppress(BlockingIOError):
        frames = innermost_frames(os.read(stack, 65_536).decode(errors="replace"))
        return {"stands": frames} if frames else {}
    return {}
