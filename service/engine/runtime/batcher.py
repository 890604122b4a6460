"""Dynamic batching: many awaiting callers, one model call.

Knows arrays, futures and deadlines. Knows nothing of HTTP, images or ONNX. Waits are in seconds on the
monotonic clock.

There is no timer. A batch is all rows that arrived in one turn of the event loop, or that wait when a worker
becomes free. A transport that delivers one call in each turn says whether more follow (`Call.company`); its
rows wait for these, 5 ms at most (`gathering`).

A batch shorter than `INLINE_S` runs on the event loop itself when no other batch runs, because the hand-over
to a thread would cost more than the run. All other batches run on the workers. So does a batch with a request
that fills a run by itself, if the run takes longer than the hand-over: meanwhile the event loop reads the
next request (batches of 64 of a small MLP as npy: 3,200 a second instead of 2,400).

A request with more rows than a quantum (about `QUANTUM_S` of model time, at least one row) runs in slices of
that size, and returns to the end of the queue after each. So it delays small requests by at most a quantum
per worker, and they cannot delay it for ever. Its slices may run on several workers at once. A slice never
joins a run of small requests, which would wait for its rows too; the last rows of a large request, if few
enough, do.

A batch of small requests contains a quantum at most. If more rows wait than a quantum for each worker, it
contains the waiting rows divided by the number of workers, up to `TOGETHER_S` of model time. With 32
connections, one image each, the bundled model and one worker, a server answers 1.3 times the requests.

Rows of one size share a run: a graph with open sizes gets no batch of two. A request for a graph whose rows
take long is refused at once if it cannot be done before its deadline, by the time of the runs so far.

A priority moves the arrival of a request by some tenths of a second (`call.priority_head_start_s`), so it
cannot starve others. It applies until the first rows of a request run. Later rows take their turn like any
other's: a large request of the highest priority delays small ones by no more than a large one without any.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import CallerDisconnected, DeadlineExceeded, TooBusy
from service.engine.observer import EngineObserver
from service.engine.runtime.batch_invariance import FULL, BatchInvariantGraph
from service.engine.runtime.call import Call
from service.engine.runtime.composition import ComposedGraph
from service.engine.runtime.gathering import Gathering
from service.engine.runtime.model_run import Arrays, Job, ModelRun
from service.engine.runtime.worker_pool import WorkerPool

#: Longest estimated run that may occupy the event loop.
INLINE_S = 0.001
#: About the cost of handing a run to a worker and its outputs back.
HAND_OVER_S = 0.0001
#: Calls with less time left do not wait for others.
_SHORT_DEADLINE_S = 0.02
#: About the model time of one slice of a large call, and of a batch while few rows wait.
QUANTUM_S = 0.0012
#: About the longest model time of one batch of small calls: 16 rows of the bundled encoder take 2 ms. The
#: calls of another model wait so long for a worker.
TOGETHER_S = 0.004


class GraphQueue:
    """The calls that wait for one graph of one version. `run` is called on one event loop only."""

    def __init__(
        self,
        graph: BatchInvariantGraph | ComposedGraph,
        worker_pool: WorkerPool,
        *,
        model: str,
        observer: EngineObserver,
        row_values: int = 1,
    ) -> None:
        """Nothing waits.

        Args:
            graph: Runs the rows.
            worker_pool: Threads, and the bounds on everything that waits.
            model: For the observer.
            observer: Counts the runs.
            row_values: Numbers of the image of a row, by which the pool bounds memory.
        """
        self.graph = graph
        self._row_values = row_values
        self.worker_pool = worker_pool
        self.model = model
        self.observer = observer
        self._waiting: deque[Job] = deque()  # this and the next are guarded by the pool's lock
        self._rows_waiting = 0
        self._arrived: list[Job] = []  # in this turn; the event loop alone sees this and those below
        self._gathering = Gathering()
        self._open: dict[Job, None] = {}  # handed to the workers and unanswered, by age
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at_s = math.inf

    def run(self, rows: NDArray[np.float32], call: Call) -> asyncio.Future[Arrays]:
        """All outputs for all rows, in order.

        Args:
            rows: C-contiguous float32, validated, at least one row. Must not change before the result.
            call: Deadline and connection of the request. If it is disconnected, or past its deadline when a
                worker takes its rows, it costs no run.

        Returns:
            A future of one array per output of the graph. It may fail with `DeadlineExceeded`,
            `CallerDisconnected` (noticed when the rows' turn came), `InferenceFailed` (the runtime raised on
            these rows) and `EngineStopped` (the pool was closed meanwhile).

        Raises:
            TooBusy: The queues are full, or the rows that wait take too long.
            DeadlineExceeded: These rows alone take too long.
            EngineStopped: The pool is closed.
        """
        if self.graph.is_long:
            self._refuse_late(len(rows), call)
        self.worker_pool.admit(len(rows), len(rows) * self._row_values, again=call.is_admitted)
        call.is_admitted = True
        job = Job(rows, call, self.worker_pool.clock())
        self._arrived.append(job)
        self._gathering.arrived(job.loop, call.company, self)
        return job.future

    def check_time(self, rows: int, call: Call) -> None:
        """Check that so many rows can be run before the deadline of a call, if nothing else runs.

        Only rows that take long are estimated: others fit, or are a bounded number.

        Raises:
            DeadlineExceeded: They cannot.
        """
        if self.graph.is_long and call.deadline_s < math.inf:
            self._check_time(rows, call)

    def _check_time(self, rows: int, call: Call) -> float:
        """The same for any rows; returns the seconds until the deadline."""
        left_s = call.deadline_s - self.worker_pool.clock()
        at_once = self.worker_pool.count
        row_s = self.graph.seconds(1)
        needed_s = math.ceil(rows / at_once) * row_s
        if needed_s > left_s > 0.0:
            fit = at_once * int(left_s / row_s)
            raise DeadlineExceeded.foreseen(needed_s=needed_s, left_s=left_s, rows=rows, fit=fit)
        return left_s

    def _refuse_late(self, rows: int, call: Call) -> None:
        """Refuse rows that cannot be done before the deadline, alone or after what waits.

        Every waiting request runs a slice before this one runs its next, so it delays this one by at most as
        many rows as it has itself.
        """
        if call.deadline_s == math.inf:
            return
        left_s = self._check_time(rows, call)
        if call.is_admitted:
            return
        with self.worker_pool.lock:
            ahead = sum(min(rows, job.count - job.taken) for job in (*self._waiting, *self._arrived))
        needed_s = self.graph.seconds(1) * (ahead + rows) / self.worker_pool.count
        if ahead and needed_s > left_s > 0.0:
            raise TooBusy(max(1, math.ceil(needed_s - left_s)))

    def may_wait(self) -> bool:
        """Whether rows of other calls may join those that have arrived."""
        if not self._arrived or self.graph.batch_sizes[0] == 1:
            return False
        rows = sum(job.count for job in self._arrived)
        if rows >= FULL or self.graph.seconds(rows + 1) > INLINE_S:
            return False
        soon_s = self.worker_pool.clock() + _SHORT_DEADLINE_S
        return all(job.call.deadline_s > soon_s for job in self._arrived)

    def run_arrived(self) -> None:
        """Run the rows that have arrived here, if quick, or offer them to the workers."""
        if not self._arrived:
            return
        jobs, self._arrived = self._arrived, []
        worker_pool = self.worker_pool
        with worker_pool.lock:
            for job in jobs:
                self._enqueue(job)
            self._rows_waiting += sum(job.count for job in jobs)
            estimate_s = self.graph.seconds(self._rows_waiting)
            is_quick = estimate_s <= INLINE_S and (
                estimate_s <= HAND_OVER_S or all(job.count < FULL for job in jobs)
            )
            batch = self.take() if is_quick and worker_pool.is_idle else None
            if batch is not None:
                worker_pool.running += 1
            if self._waiting:
                worker_pool.offer(self, workers=max(1, round(estimate_s / QUANTUM_S)))
            depth = self._rows_waiting
        if depth:
            self._open.update(dict.fromkeys(jobs))
            self._watch_deadlines(jobs)
            self.observer.queued(self.model, self.graph.file, depth)
        if batch is not None:
            batch.execute()
            with worker_pool.lock:
                worker_pool.running -= 1
            batch.hand_out()

    def _enqueue(self, job: Job) -> None:
        """Add a job behind all that rank before it, which is the end if no request has a priority."""
        waiting = self._waiting
        if not waiting or waiting[-1].rank_s <= job.rank_s:
            waiting.append(job)
            return
        at = len(waiting)
        while at and waiting[at - 1].rank_s > job.rank_s:
            at -= 1
        waiting.insert(at, job)

    # Called by the workers, with the pool's lock held.

    @property
    def is_long(self) -> bool:
        """Whether one row keeps a worker for long."""
        return self.graph.is_long

    def is_empty(self) -> bool:
        """Whether no row waits."""
        return not self._waiting

    def backlog_s(self) -> float:
        """Estimated run time of the waiting rows in seconds."""
        return self.graph.seconds(self._rows_waiting)

    def take(self) -> ModelRun | None:
        """The wanted rows of the next batch, by rank: in the order of arrival, but for priorities.

        A batch that begins with a large call contains a quantum at most. The last rows of a large call join a
        batch only if it stays within a quantum.
        """
        quantum = most = self.graph.rows_within(QUANTUM_S)
        waiting, large = self._waiting, min(quantum + 1, FULL)  # a call of so many rows is a large one
        taken = count = 0
        batch = ModelRun(self)
        now_s = self.worker_pool.clock()
        while count < most and waiting:
            job = waiting[0]
            error = _unwanted(job, now_s)
            size = job.count - job.taken
            if error is None:
                is_large = job.count >= large
                if not batch.slices:
                    most = quantum if is_large else self._most_together(quantum)
                elif count + size > (quantum if is_large else most):
                    break  # the next run is its own
                elif job.row_shape != batch.row_shape:
                    break  # so is that of another size
            waiting.popleft()
            if error is None:
                size = min(size, most - count)
                count += size
                batch.add(job, size, now_s)
                if job.taken < job.count:
                    job.rank_s = now_s
                    self._enqueue(job)
            else:
                batch.failed.append((job, error))
            taken += size
            self._rows_waiting -= size
        self.worker_pool.taken(taken, taken * self._row_values)
        return batch if batch.slices or batch.failed else None

    def _most_together(self, quantum: int) -> int:
        """The maximum number of rows of a batch that begins with a small call.

        It is the number of rows that still wait, divided by the number of workers; a large call counts as its
        next slice. A run of 16 rows costs less than two of 8, mainly because it is handed over once.
        """
        workers = self.worker_pool.count
        if self.graph.batch_sizes[0] == 1 or self._rows_waiting <= workers * quantum:
            return quantum
        longest = max(quantum, self.graph.rows_within(TOGETHER_S))
        rows = 0
        for job in self._waiting:
            rows += min(job.count - job.taken, quantum)
            if rows >= workers * longest:
                return longest
        return max(quantum, math.ceil(rows / workers))

    def fail_all(self, error: Exception) -> None:
        """Fail every waiting call with this error, and empty the queue."""
        batch = ModelRun(self)
        batch.failed = [(job, error) for job in self._waiting]
        self.worker_pool.taken(self._rows_waiting, self._rows_waiting * self._row_values)
        self._rows_waiting = 0
        self._waiting.clear()
        batch.hand_out_soon()

    # On the event loop: no call waits beyond its deadline, even behind a run that never ends.

    def _watch_deadlines(self, jobs: Iterable[Job]) -> None:
        """Set the timer to the earliest deadline of `jobs`, unless it is set to an earlier one."""
        earliest = min(jobs, key=lambda job: job.call.deadline_s, default=None)
        if earliest is None or earliest.call.deadline_s >= self._sweep_at_s:
            return
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at_s = earliest.call.deadline_s
        wait_s = max(0.0, self._sweep_at_s - self.worker_pool.clock())
        # Weakly: a timer that runs for half a minute must not keep a retired model in memory.
        self._sweep = earliest.loop.call_later(wait_s, _expire, weakref.ref(self))

    def _expire(self) -> None:
        self._sweep, self._sweep_at_s = None, math.inf
        now_s = self.worker_pool.clock()
        for job in [job for job in self._open if job.call.deadline_s <= now_s]:
            self.fail(job, DeadlineExceeded())
        self._watch_deadlines(self._open)

    def resolve(self, job: Job) -> None:
        """Answer a call with its outputs."""
        self._open.pop(job, None)
        if not job.future.done():  # a cancelled caller must not strand its batch-mates
            job.call.queued_s += job.waited_s
            job.call.run_s += job.run_s
            job.future.set_result(job.outputs)

    def fail(self, job: Job, error: Exception) -> None:
        """Answer a call with an error."""
        self._open.pop(job, None)
        if not job.future.done():
            job.call.queued_s += self.worker_pool.clock() - job.submitted_s
            job.future.set_exception(error)


def _expire(queue: weakref.ref[GraphQueue]) -> None:
    alive = queue()
    if alive is not None:
        alive._expire()


def _unwanted(job: Job, now_s: float) -> Exception | None:
    """Why the result of this job is not wanted, if so."""
    if now_s >= job.call.deadline_s:
        return DeadlineExceeded()
    if job.future.done() or job.call.is_disconnected():
        return CallerDisconnected()
    return None
