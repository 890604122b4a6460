"""A small simulation of requests that pass through processes on hosts: first come, first served, everywhere.

Knows queues, cores and clocks. Knows nothing of servers or of what is served. Times are in seconds.

A process works on one request at a time, and needs a core of its host for that. A host gives its cores to
processes in the order in which they ask, and takes none back: real systems switch every few milliseconds,
which changes the order of answers and not their number. The time of a step is drawn from a gamma distribution
around its mean, because the times of real steps vary, by batching and by what else the cores do.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: Variation of the time of a step: standard deviation ÷ mean.
VARIATION = 0.5
_SHAPE = 1 / VARIATION**2
#: The start of a run, in which queues fill, is left out.
_WARM_UP = 0.2


@dataclass(eq=False)
class Host:
    """Cores that processes share."""

    name: str
    cores: int
    free: int = field(init=False)
    asking: deque[Process] = field(default_factory=deque)
    busy_s: float = 0.0

    def __post_init__(self) -> None:
        self.free = self.cores


@dataclass(eq=False)
class Process:
    """Works on one request at a time. Several workers of one server are several processes."""

    name: str
    host: Host
    waiting: deque[_Request] = field(default_factory=deque)
    is_asking: bool = False
    busy_s: float = 0.0

    @property
    def load(self) -> int:
        """Requests that it has or that wait for it."""
        return len(self.waiting) + self.is_asking


@dataclass(frozen=True)
class Step:
    """One piece of work of a request."""

    process: Process
    mean_s: float


@dataclass(eq=False)
class _Request:
    begun_s: float
    steps: deque[Step]


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    per_s: float
    """Finished requests per second."""
    p50_s: float
    p99_s: float
    waiting: int
    """Requests under way at the end."""
    busy: dict[str, float]
    """Share of its cores that each host used, by name; hosts of one name together, on average."""

    def bottleneck(self) -> str:
        """The name of the hosts that are busiest."""
        return max(self.busy, key=lambda name: self.busy[name])


class Run:
    """One run of a load through a system."""

    def __init__(self, route: Callable[[random.Random], Sequence[Step]], *, seed: int = 0) -> None:
        """Nothing has happened yet.

        Args:
            route: The steps of one request, in order; called when it begins, so that it may choose.
            seed: Of everything that is drawn.
        """
        self._route = route
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now_s = 0.0
        self._under_way = 0
        self._finished: list[tuple[float, float]] = []  # moment and latency
        self._again = False

    def closed(self, clients: int, duration_s: float, hosts: Sequence[Host]) -> Outcome:
        """So many clients, each of which asks again when it has its answer."""
        self._again = True
        for _ in range(clients):
            self._at(0.0, self._begin)
        return self._until(duration_s, hosts)

    def open(self, per_s: float, duration_s: float, hosts: Sequence[Host]) -> Outcome:
        """Requests of many independent users: a Poisson process of this rate."""

        def arrive() -> None:
            self._begin()
            self._at(self._now_s + self._random.expovariate(per_s), arrive)

        self._at(0.0, arrive)
        return self._until(duration_s, hosts)

    def _until(self, duration_s: float, hosts: Sequence[Host]) -> Outcome:
        while self._events and self._events[0][0] <= duration_s:
            self._now_s, _, happen = heapq.heappop(self._events)
            happen()
        begin_s = _WARM_UP * duration_s
        latencies = sorted(latency for moment, latency in self._finished if moment >= begin_s)
        if not latencies:
            raise ValueError("no request finished: the run is too short")
        shares: dict[str, list[float]] = {}
        for host in hosts:
            shares.setdefault(host.name, []).append(host.busy_s / duration_s / host.cores)
        return Outcome(
            per_s=len(latencies) / (duration_s - begin_s),
            p50_s=latencies[len(latencies) // 2],
            p99_s=latencies[int(0.99 * len(latencies))],
            waiting=self._under_way,
            busy={name: sum(each) / len(each) for name, each in shares.items()},
        )

    def _at(self, moment_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_s, next(self._order), happen))

    def _begin(self) -> None:
        self._under_way += 1
        self._pass_on(_Request(self._now_s, deque(self._route(self._random))))

    def _pass_on(self, request: _Request) -> None:
        if not request.steps:
            self._under_way -= 1
            self._finished.append((self._now_s, self._now_s - request.begun_s))
            if self._again:
                self._begin()
            return
        process = request.steps[0].process
        process.waiting.append(request)
        self._ask(process)

    def _ask(self, process: Process) -> None:
        if not process.is_asking and process.waiting:
            process.is_asking = True
            process.host.asking.append(process)
            self._give(process.host)

    def _give(self, host: Host) -> None:
        while host.free and host.asking:
            host.free -= 1
            process = host.asking.popleft()
            request = process.waiting.popleft()
            mean_s = request.steps.popleft().mean_s
            took_s = self._random.gammavariate(_SHAPE, mean_s / _SHAPE) if mean_s else 0.0
            host.busy_s += took_s
            process.busy_s += took_s
            self._at(self._now_s + took_s, lambda p=process, r=request: self._end(p, r))  # type: ignore[misc]

    def _end(self, process: Process, request: _Request) -> None:
        process.is_asking = False
        process.host.free += 1
        self._ask(process)
        self._give(process.host)
        self._pass_on(request)
