"""Dynamic batching: many awaiting callers, one model call.

Knows arrays, futures and deadlines. Knows nothing of HTTP, images or ONNX. Waits are in seconds on the
monotonic clock.

There is no timer. A batch is all rows that arrived in one turn of the event loop, or that wait when a worker
becomes free. A batch shorter than `INLINE_S` runs on the event loop itself when no other batch runs, because
the hand-over to a thread would cost more than the run. All other batches run on the workers. So does a batch
with a request that fills a run by itself, if the run takes longer than the hand-over: meanwhile the event
loop reads the next request (batches of 64 of a small MLP as npy: 3,200 a second instead of 2,400).

A batch holds at most a quantum: rows worth about `QUANTUM_S` of model time, at least one. A request with more
rows runs in slices, and returns to the end of the queue after each. So it delays small requests by at most a
quantum per worker, and they cannot delay it for ever. Its slices may run on several workers at once. A slice
never joins a run of small requests, which would wait for its rows too; the last rows of a large request, if
few enough, do.

Rows of one size share a run: a graph with open sizes gets no batch of two. A request for a graph whose rows
take long is refused at once if it cannot be done before its deadline, by the time of the runs so far.

A priority moves the arrival of a request by some tenths of a second (`call.priority_head_start_s`), so it
cannot starve others. It applies until the first rows of a request run. Later rows take their turn like any
other's: a large request of the highest priority delays small ones by no more than a large one without any.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import (
    CallerDisconnected,
    DeadlineExceeded,
    EngineStopped,
    InferenceFailed,
    TooBusy,
)
from service.engine.observer import EngineObserver
from service.engine.runtime.allocator import keep_no_large_blocks, return_memory
from service.engine.runtime.batch_invariance import FULL, BatchInvariantGraph
from service.engine.runtime.call import Batch, Call
from service.engine.runtime.composition import ComposedGraph
from service.engine.runtime.worker_pool import WorkerPool

#: Longest estimated run that may occupy the event loop.
INLINE_S = 0.001
#: About the cost of handing a run to a worker and its outputs back.
HAND_OVER_S = 0.0001
#: About the model time of one batch.
QUANTUM_S = 0.0012

Arrays = tuple[NDArray[np.float32], ...]


class _Job:
    """The rows of one call, and the outputs so far."""

    __slots__ = ("call", "count", "finished", "future", "loop", "outputs", "rank_s", "row_shape", "rows",
                 "run_s", "submitted_s", "taken", "waited_s")  # fmt: skip

    def __init__(self, rows: NDArray[np.float32], call: Call, submitted_s: float) -> None:
        self.rows = rows
        self.row_shape = rows.shape[1:]
        self.count = len(rows)
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Arrays] = self.loop.create_future()
        self.submitted_s = submitted_s
        self.rank_s = submitted_s - call.head_start_s
        self.taken = 0  # rows; this and the next two are guarded by the pool's lock
        self.finished = 0
        self.outputs: Arrays = ()
        self.waited_s = 0.0
        self.run_s = 0.0


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
        self._graph = graph
        self._row_values = row_values
        self._worker_pool = worker_pool
        self._model = model
        self._observer = observer
        self._waiting: deque[_Job] = deque()  # this and the next are guarded by the pool's lock
        self._rows_waiting = 0
        self._arrived: list[_Job] = []  # in this turn of the event loop, which alone sees this and the next
        self._open: dict[_Job, None] = {}  # handed to the workers and unanswered, by age
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
        if self._graph.is_long:
            self._refuse_late(len(rows), call)
        self._worker_pool.admit(len(rows), len(rows) * self._row_values, again=call.is_admitted)
        call.is_admitted = True
        job = _Job(rows, call, self._worker_pool.clock())
        self._arrived.append(job)
        if len(self._arrived) == 1:
            job.loop.call_soon(self._flush)
        return job.future

    def check_time(self, rows: int, call: Call) -> None:
        """Check that so many rows can be run before the deadline of a call, if nothing else runs.

        Only rows that take long are estimated: others fit, or are a bounded number.

        Raises:
            DeadlineExceeded: They cannot.
        """
        if self._graph.is_long and call.deadline_s < math.inf:
            self._check_time(rows, call)

    def _check_time(self, rows: int, call: Call) -> float:
        """The same for any rows; returns the seconds until the deadline."""
        left_s = call.deadline_s - self._worker_pool.clock()
        at_once = self._worker_pool.count
        row_s = self._graph.seconds(1)
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
        with self._worker_pool.lock:
            ahead = sum(min(rows, job.count - job.taken) for job in (*self._waiting, *self._arrived))
        needed_s = self._graph.seconds(1) * (ahead + rows) / self._worker_pool.count
        if ahead and needed_s > left_s > 0.0:
            raise TooBusy(max(1, math.ceil(needed_s - left_s)))

    def _flush(self) -> None:
        """At the end of a turn: run its rows here, if quick, or offer them to the workers."""
        jobs, self._arrived = self._arrived, []
        worker_pool = self._worker_pool
        with worker_pool.lock:
            for job in jobs:
                self._enqueue(job)
            self._rows_waiting += sum(job.count for job in jobs)
            estimate_s = self._graph.seconds(self._rows_waiting)
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
            self._observer.queued(self._model, self._graph.file, depth)
        if batch is not None:
            batch.execute()
            with worker_pool.lock:
                worker_pool.running -= 1
            batch.hand_out()

    def _enqueue(self, job: _Job) -> None:
        """Add a job behind all that rank before it, which is the end if no request has a priority."""
        waiting = self._waiting
        at = len(waiting)
        while at and waiting[at - 1].rank_s > job.rank_s:
            at -= 1
        if at == len(waiting):
            waiting.append(job)
        else:
            waiting.insert(at, job)

    # Called by the workers, with the pool's lock held.

    @property
    def is_long(self) -> bool:
        """Whether one row keeps a worker for long."""
        return self._graph.is_long

    def is_empty(self) -> bool:
        """Whether no row waits."""
        return not self._waiting

    def backlog_s(self) -> float:
        """Estimated run time of the waiting rows in seconds."""
        return self._graph.seconds(self._rows_waiting)

    def take(self) -> _Batch | None:
        """Up to a quantum of wanted rows, by rank: in the order of arrival, but for priorities.

        A call with more rows than a quantum begins a batch, or waits for the next one.
        """
        room = quantum = self._graph.rows_within(QUANTUM_S)
        batch = _Batch(self)
        now_s = self._worker_pool.clock()
        while room and self._waiting:
            job = self._waiting[0]
            error = _unwanted(job, now_s)
            size = job.count - job.taken
            if error is None and batch.slices:
                if size > room and job.count > quantum:
                    break  # the next run is its own
                if job.row_shape != batch.row_shape:
                    break  # so is that of another size
            self._waiting.popleft()
            if error is None:
                size = min(room, size)
                room -= size
                batch.add(job, size, now_s)
                if job.taken < job.count:
                    job.rank_s = now_s
                    self._enqueue(job)
            else:
                batch.failed.append((job, error))
            self._rows_waiting -= size
            self._worker_pool.taken(size, size * self._row_values)
        return batch if batch.slices or batch.failed else None

    def fail_all(self, error: Exception) -> None:
        """Fail every waiting call with this error, and empty the queue."""
        batch = _Batch(self)
        batch.failed = [(job, error) for job in self._waiting]
        self._worker_pool.taken(self._rows_waiting, self._rows_waiting * self._row_values)
        self._rows_waiting = 0
        self._waiting.clear()
        batch.hand_out_soon()

    # On the event loop: no call waits beyond its deadline, even behind a run that never ends.

    def _watch_deadlines(self, jobs: Iterable[_Job]) -> None:
        """Set the timer to the earliest deadline of `jobs`, unless it is set to an earlier one."""
        earliest = min(jobs, key=lambda job: job.call.deadline_s, default=None)
        if earliest is None or earliest.call.deadline_s >= self._sweep_at_s:
            return
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at_s = earliest.call.deadline_s
        wait_s = max(0.0, self._sweep_at_s - self._worker_pool.clock())
        # Weakly: a timer that runs for half a minute must not keep a retired model in memory.
        self._sweep = earliest.loop.call_later(wait_s, _expire, weakref.ref(self))

    def _expire(self) -> None:
        self._sweep, self._sweep_at_s = None, math.inf
        now_s = self._worker_pool.clock()
        for job in [job for job in self._open if job.call.deadline_s <= now_s]:
            self._fail(job, DeadlineExceeded())
        self._watch_deadlines(self._open)

    def _resolve(self, job: _Job) -> None:
        self._open.pop(job, None)
        if not job.future.done():  # a cancelled caller must not strand its batch-mates
            job.call.queued_s += job.waited_s
            job.call.run_s += job.run_s
            job.future.set_result(job.outputs)

    def _fail(self, job: _Job, error: Exception) -> None:
        self._open.pop(job, None)
        if not job.future.done():
            job.call.queued_s += self._worker_pool.clock() - job.submitted_s
            job.future.set_exception(error)


class _Batch:
    """One run: slices of jobs, and the jobs that failed without one."""

    def __init__(self, queue: GraphQueue) -> None:
        self.is_long = queue.is_long
        self.row_shape: tuple[int, ...] = ()  # of the slices
        self.slices: list[tuple[_Job, int, int]] = []  # job, first row, row after the last
        self.failed: list[tuple[_Job, Exception]] = []
        self._queue = queue
        self._finished: list[_Job] = []
        self._wait_s = 0.0

    def add(self, job: _Job, size: int, now_s: float) -> None:
        """The next `size` rows of a job. Called with the lock held."""
        if job.taken == 0:
            job.waited_s = now_s - job.submitted_s
            self._wait_s += job.waited_s
        self.slices.append((job, job.taken, job.taken + size))
        self.row_shape = job.row_shape
        job.taken += size

    def run(self) -> None:
        """Run in a worker."""
        if self.is_long:
            keep_no_large_blocks()
        self.execute()
        # Before the answer, which may bring the next tile of the same image, for another thread: the memory
        # of both would be kept. Also after the first run of a size, which shows that it is long. It takes a
        # millisecond, because large blocks are with the system already.
        if self._queue.is_long:
            return_memory()  # of the layers: a large image needs hundreds of megabytes
        self.hand_out_soon()

    def execute(self) -> None:
        """Run the slices, in the calling thread. Each error becomes the failure of a job.

        Small slices run together. A slice that fills a run by itself runs alone: copying its rows next to
        others' would cost a small model a tenth of its time.
        """
        small = []
        for one in self.slices:
            if one[2] - one[1] < FULL:
                small.append(one)
            else:
                self._execute_together([one])
        if small:
            self._execute_together(small)

    def _execute_together(self, slices: list[tuple[_Job, int, int]]) -> None:
        try:
            self._execute(slices)
        except Exception as error:
            if len(slices) == 1 or not isinstance(error, InferenceFailed):
                self.failed += [(job, error) for job, _, _ in slices]
                return
            for one in slices:  # only the call whose rows cause it shall fail
                try:
                    self._execute([one])
                except Exception as own:
                    self.failed.append((one[0], own))

    def hand_out(self) -> None:
        """On the event loop: answer each call by itself."""
        queue = self._queue
        for job in self._finished:
            queue._resolve(job)
        for job, error in self.failed:
            reason = _REASONS.get(type(error))
            if reason is not None and (job.future.cancelled() or not job.future.done()):
                queue._observer.dropped(queue._model, queue._graph.file, reason, job.count)
            queue._fail(job, error)

    def hand_out_soon(self) -> None:
        """From any thread: have the event loop answer, once for the whole batch."""
        for job in self._finished or [job for job, _ in self.failed]:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no call waits
                job.loop.call_soon_threadsafe(self.hand_out)
            return

    def _execute(self, slices: list[tuple[_Job, int, int]]) -> None:
        queue = self._queue
        clock = queue._worker_pool.clock
        started_s = clock()
        parts = [job.rows[first:last] for job, first, last in slices]
        outputs = queue._graph.run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        run_s = clock() - started_s
        at = 0
        for job, first, last in slices:
            size = last - first
            if job.call.batches is not None:
                job.call.batches.append(Batch(rows=len(outputs[0]), calls=len(slices), run_s=run_s))
            self._store(job, first, tuple(output[at : at + size] for output in outputs), run_s)
            at += size
        queue._observer.run(
            queue._model, queue._graph.file, rows=at, jobs=len(slices), wait_s=self._wait_s, run_s=run_s
        )
        self._wait_s = 0.0

    def _store(self, job: _Job, first: int, pieces: Arrays, run_s: float) -> None:
        """Store a slice of a job's outputs; several workers may do so for one job at once."""
        size = len(pieces[0])
        if size == job.count:
            job.outputs, job.run_s = pieces, run_s
            self._finished.append(job)
            return
        lock = self._queue._worker_pool.lock
        with lock:
            if not job.outputs:
                job.outputs = tuple(np.empty((job.count, *p.shape[1:]), np.float32) for p in pieces)
        for whole, piece in zip(job.outputs, pieces, strict=True):
            whole[first : first + size] = piece
        with lock:
            job.finished += size
            job.run_s += run_s
            if job.finished == job.count:
                self._finished.append(job)


def _expire(queue: weakref.ref[GraphQueue]) -> None:
    alive = queue()
    if alive is not None:
        alive._expire()


_REASONS: dict[type[Exception], str] = {
    DeadlineExceeded: "deadline",
    CallerDisconnected: "left",
    EngineStopped: "stopped",
}


def _unwanted(job: _Job, now_s: float) -> Exception | None:
    """Why the result of this job is not wanted, if so."""
    if now_s >= job.call.deadline_s:
        return DeadlineExceeded()
    if job.future.done() or job.call.is_disconnected():
        return CallerDisconnected()
    return None
