"""Many connections that send requests at once, and a record of every response.

Knows connections and clocks. Knows nothing of the requests: `next_request()` returns whole requests as bytes.

Closed loop (`concurrency`): each connection sends its next request after its response, so the load adapts to
the server. Open loop (`rate_per_s`): requests are due by the clock, independent of earlier ones, as from many
independent users. Latency then counts from the due time and not from the sending, so that a server that
stalls cannot hide the wait (coordinated omission). Times are in seconds on `perf_counter`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.bench.client import NO_ANSWER, Connection
from service.bench.requests import Target
from service.bench.timer import Timer

NextRequest = Callable[[], bytes]
"""Returns the next request; `StopIteration` ends the load."""

#: Interval between checks for requests that have waited too long.
_SWEEP_S = 0.25
#: Pause after a refused connection: an absent server must not be flooded with attempts.
_BACK_OFF_S = 0.1
#: An open loop sends at most this many in one wake-up before it lets responses in.
_MOST_AT_ONCE = 64
Arrivals = Literal["poisson", "constant"]


class LeavingRequest(bytes):
    """A request whose client closes the connection at once and never sees the response."""


class CutRequest(bytes):
    """A request with an incomplete body: after its response the connection is useless."""


@dataclass(frozen=True)
class _Due:
    """A request that waits for a connection."""

    due_s: float
    request: bytes
    tries: int = 1


@dataclass(frozen=True)
class LoadResult:
    """Every finished request, in the order in which it finished.

    `status` is the HTTP status, or `client.NO_ANSWER` (0) without a response; `reasons` counts the reasons.
    """

    due_s: NDArray[np.float64]
    """Time when it was due (open loop) or sent (closed loop), from the start of the load."""
    latency_s: NDArray[np.float64]
    status: NDArray[np.int32]
    sent: list[bytes]
    """Each request, the very object from `next_request`."""
    took_s: float
    """Duration of this stretch of the load, without the wait for the last responses."""
    begun_s: float = 0.0
    """Start of this stretch, from the start of the load."""
    reasons: Counter[str] = field(default_factory=Counter)
    lag_s: float = 0.0
    """Open loop: the largest delay of the client's own sends while connections were free."""
    waiting: int = 0
    """Requests on their way or due at the end of this stretch: their latency is in none of the figures."""

    @property
    def statuses(self) -> Counter[int]:
        """Number of responses by status."""
        values, counts = np.unique(self.status, return_counts=True)
        return Counter({int(v): int(c) for v, c in zip(values, counts, strict=True)})

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which requests have a 2xx response."""
        return (self.status >= 200) & (self.status < 300)

    @property
    def ok_latency_s(self) -> NDArray[np.float64]:
        """Latencies of the requests with a 2xx response, in seconds."""
        return self.latency_s[self.ok]

    @property
    def failed(self) -> int:
        """Number of requests without a 2xx response."""
        return int(len(self.status) - self.ok.sum())

    @property
    def ok_per_s(self) -> float:
        """2xx responses per second, counted while the load was on."""
        in_time = self.due_s + self.latency_s <= self.begun_s + self.took_s
        return float((self.ok & in_time).sum()) / self.took_s if self.took_s > 0 else 0.0


class Load:
    """A running load. Call `start`, then `take` any number of times, then `stop`.

    Args:
        concurrency: Connections of a closed loop.
        rate_per_s: Requests per second of an open loop. One of the two.
        max_connections: Maximum number of connections of an open loop; further due requests wait, and their
            wait counts.
        arrivals: Gaps between due times: `poisson`, as of independent users, or `constant`.
        timeout_s: A request that waits longer for its response is aborted and counts as `NO_ANSWER`.
        tries: How often a request is sent if its connection ends before its response, each time on another
            connection, as HTTP clients do. Its latency counts from the first time.
        precise_timer: False leaves due times to the event loop's timers of 1 ms.
    """

    def __init__(
        self,
        target: Target,
        next_request: NextRequest,
        *,
        concurrency: int | None = None,
        rate_per_s: float | None = None,
        max_connections: int = 512,
        arrivals: Arrivals = "poisson",
        timeout_s: float = 30.0,
        tries: int = 1,
        seed: int = 0,
        precise_timer: bool = True,
    ) -> None:
        if (concurrency is None) == (rate_per_s is None):
            raise ValueError("expected either concurrency or rate_per_s, got both or none: give one of them")
        if not (1 if concurrency is None else concurrency) >= 1:
            raise ValueError(f"concurrency: expected at least 1, got {concurrency}")
        if rate_per_s is not None and not rate_per_s > 0:
            raise ValueError(f"rate_per_s: expected more than 0, got {rate_per_s}")
        self._target = target
        self._next_request = next_request
        self._concurrency = concurrency
        self._rate_per_s = rate_per_s
        self._most = max_connections if concurrency is None else concurrency
        self._arrivals = arrivals
        self._timeout_s = timeout_s
        self._tries = tries
        self._precise_timer = precise_timer
        self._rng = random.Random(seed)  # noqa: S311  (gaps between requests, no secret)
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._due: deque[_Due] = deque()
        """Requests without a free connection."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Each opens one connection."""
        self._sending = False
        self._timer: Timer | None = None
        self._next_due_s = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event = asyncio.Event()
        self._begun_s = self._taken_s = 0.0
        self._ended_s: float | None = None
        self._clear()

    @property
    def on_their_way(self) -> int:
        """Number of requests that were sent, or are due, without a response yet."""
        return sum(connection.busy for connection in self._all) + len(self._due)

    async def start(self) -> None:
        """Start to send. A closed loop has all its connections open first.

        Raises:
            OSError: No server listens there.
        """
        self._sending = True
        first = self._concurrency or 1
        for begin in range(0, first, 64):
            await asyncio.gather(*(self._connect() for _ in range(min(64, first - begin))))
        self._begun_s = self._taken_s = time.perf_counter()
        self._sweep_late()
        if self._rate_per_s is None:
            idle, self._idle = self._idle, []
            for connection in idle:
                self._send_next(connection)
        else:
            self._timer = Timer(self._send_what_is_due, precise=self._precise_timer)
            self._next_due_s = self._begun_s + self._gap_s()
            self._timer.wake_at(self._next_due_s)

    def take(self) -> LoadResult:
        """The requests that finished since the last `take` (or `start`)."""
        now_s = time.perf_counter() if self._ended_s is None else max(self._ended_s, self._taken_s)
        result = LoadResult(
            due_s=np.array(self._due_s) - self._begun_s,
            latency_s=np.array(self._latency_s),
            status=np.array(self._status, dtype=np.int32),
            sent=self._sent,
            took_s=now_s - self._taken_s,
            begun_s=self._taken_s - self._begun_s,
            reasons=self._reasons,
            lag_s=self._lag_s,
            waiting=self.on_their_way,
        )
        self._taken_s = now_s
        self._clear()
        return result

    async def stop(self, *, drain_s: float = 0.0) -> None:
        """Send no more, wait up to `drain_s` for requests on their way, and close every connection."""
        self._sending = False
        self._ended_s = self._ended_s or time.perf_counter()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if drain_s > 0 and self.on_their_way:
            self._drained.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), drain_s)
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._tasks:
            task.cancel()
        for due in self._due:
            self._record(due, "the load ended before it could be sent")
        self._due.clear()
        for connection in list(self._all):
            if connection.busy:
                connection.abort("the load ended before the response")
            else:
                connection.close()
        await asyncio.sleep(0)  # the transports close in the loop's next turn
        await asyncio.sleep(0)

    async def finished(self) -> None:
        """Wait until `next_request` has ended and all its requests are finished."""
        await self._drained.wait()

    def _clear(self) -> None:
        self._sent: list[bytes] = []
        self._due_s, self._latency_s, self._status = array("d"), array("d"), array("i")
        self._reasons: Counter[str] = Counter()
        self._lag_s = 0.0

    def _gap_s(self) -> float:
        assert self._rate_per_s is not None
        return (
            self._rng.expovariate(self._rate_per_s) if self._arrivals == "poisson" else 1.0 / self._rate_per_s
        )

    # Sending.

    def _send(self, connection: Connection, due: _Due) -> None:
        connection.due_s, connection.request, connection.tries = due.due_s, due.request, due.tries
        connection.sent_s = time.perf_counter()
        connection.send(due.request)
        if type(due.request) is LeavingRequest:
            connection.close()

    def _send_next(self, connection: Connection) -> None:
        """The next step of a connection of a closed loop."""
        due = self._next_due(time.perf_counter())
        if due is None:
            self._idle.append(connection)
        else:
            self._send(connection, due)

    def _next_due(self, due_s: float) -> _Due | None:
        """The next request; None at the end of the load."""
        try:
            return _Due(due_s, self._next_request())
        except StopIteration:
            self._sending = False
            if not self.on_their_way:
                self._drained.set()
            return None

    def _send_what_is_due(self) -> None:
        if not self._sending or self._timer is None:
            return
        now_s = time.perf_counter()
        for _ in range(_MOST_AT_ONCE):
            if self._next_due_s > now_s:
                break
            self._lag_s = max(self._lag_s, now_s - self._next_due_s)
            due = self._next_due(self._next_due_s)
            if due is None:
                return
            connection = self._free()
            if connection is not None:
                self._send(connection, due)
            else:
                self._due.append(due)
                if len(self._all) + len(self._tasks) < self._most:
                    self._connect_soon()
            self._next_due_s += self._gap_s()
        self._timer.wake_at(self._next_due_s)

    def _free(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    def _answered(self, connection: Connection, status: int, reason: str) -> None:
        now_s = time.perf_counter()
        request = connection.request
        if connection.open and type(request) is CutRequest:
            connection.close()
        if status == NO_ANSWER and self._is_tried_again(connection):
            self._due.appendleft(_Due(connection.due_s, request, connection.tries + 1))
        else:
            self._due_s.append(connection.due_s)
            self._latency_s.append(now_s - connection.due_s)
            self._status.append(status)
            self._sent.append(request)
            if status == NO_ANSWER:
                self._reasons[reason] += 1
        if not connection.open:
            self._all.discard(connection)
            if self._sending or self._due:
                self._connect_soon()
        elif self._due:
            self._send(connection, self._due.popleft())
        elif not self._sending:
            pass
        elif self._rate_per_s is None:
            self._send_next(connection)
        else:
            self._idle.append(connection)
        if not self._sending and not self.on_their_way:
            self._drained.set()

    def _is_tried_again(self, connection: Connection) -> bool:
        """Whether the server, or the system, ended the connection, and the request has tries left."""
        return (
            connection.tries < self._tries
            and not connection.reason_to_abort
            and type(connection.request) is not LeavingRequest
        )

    def _record(self, due: _Due, reason: str) -> None:
        self._due_s.append(due.due_s)
        self._latency_s.append(time.perf_counter() - due.due_s)
        self._status.append(NO_ANSWER)
        self._sent.append(due.request)
        self._reasons[reason] += 1

    # Connections.

    async def _connect(self) -> None:
        """One more connection, idle."""
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._answered, self._ended),
            self._target.host,
            self._target.port,
            ssl=self._target.tls,
        )
        self._all.add(connection)
        self._idle.append(connection)

    def _connect_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reconnect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        """A connection to replace an ended one, or one more for due requests."""
        due_s = time.perf_counter()
        while self._sending or self._due:
            try:
                await self._connect()
                break
            except OSError as error:
                reason = f"cannot connect: {error.strerror or type(error).__name__}"
                due = self._due.popleft() if self._due else None
                if due is None and self._rate_per_s is None:
                    due = self._next_due(due_s)
                if due is not None:
                    self._record(due, reason)
                await asyncio.sleep(_BACK_OFF_S)
                due_s = time.perf_counter()
        connection = self._free()
        if connection is None:
            return
        if self._due:
            self._send(connection, self._due.popleft())
        elif self._rate_per_s is None and self._sending:
            self._send_next(connection)
        else:
            self._idle.append(connection)

    def _ended(self, connection: Connection) -> None:
        """An idle connection that the server closed, or one with a superfluous response."""
        if connection in self._all:
            self._all.discard(connection)
            if self._rate_per_s is None and self._sending:
                self._connect_soon()

    def _sweep_late(self) -> None:
        latest_s = time.perf_counter() - self._timeout_s
        for connection in list(self._all):
            if connection.busy and connection.sent_s < latest_s:
                connection.abort(f"no response within {self._timeout_s:g} s")
        while self._due and self._due[0].due_s < latest_s:
            self._record(self._due.popleft(), f"no connection within {self._timeout_s:g} s")
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_late)


async def run_load(
    target: Target | str,
    requests: NextRequest | Sequence[bytes],
    *,
    concurrency: int | None = None,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    max_connections: int = 512,
    arrivals: Arrivals = "poisson",
    timeout_s: float = 30.0,
    tries: int = 1,
    seed: int = 0,
) -> LoadResult:
    """Load for `duration_s`, or until the requests end, and every response to it.

    The result includes every request that was sent.

    Args:
        target: The server; a URL such as `http://127.0.0.1:8000` is parsed.
        requests: Whole requests as bytes (`requests.render_request`), used in turn, or a function that
            returns the next.
        concurrency: Connections that always have a request on its way (closed loop).
        rate_per_s: Requests per second, independent of the responses (open loop).
        duration_s: Duration of the sending; left out, until `requests` raises `StopIteration`.
        max_connections: Maximum number of connections of an open loop.
        arrivals: Spacing of the requests of an open loop.
        timeout_s: Longest wait for one response, at the end too.
        tries: How often a request is sent if its connection ends before its response.
        seed: Seed of random arrivals.

    Raises:
        OSError: No server listens there.
        ValueError: Neither `concurrency` nor `rate_per_s`, or both.
    """
    load = Load(
        Target.of(target) if isinstance(target, str) else target,
        requests if callable(requests) else itertools.cycle(requests).__next__,
        concurrency=concurrency,
        rate_per_s=rate_per_s,
        max_connections=max_connections,
        arrivals=arrivals,
        timeout_s=timeout_s,
        tries=tries,
        seed=seed,
    )
    try:
        await load.start()
        if duration_s is None:
            await load.finished()
        else:
            await asyncio.sleep(duration_s)
    finally:
        await load.stop(drain_s=timeout_s + 2 * _SWEEP_S)
    return load.take()
