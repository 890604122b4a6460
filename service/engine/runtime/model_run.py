"""One call's rows, and one run of a graph over rows of several calls.

Knows arrays, futures and slices. Knows nothing of order, bounds or threads: the queue (`batcher`) decides
what runs, when and where.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import CallerDisconnected, DeadlineExceeded, EngineStopped, InferenceFailed
from service.engine.observer import EngineObserver
from service.engine.runtime.allocator import keep_no_large_blocks, return_memory
from service.engine.runtime.batch_invariance import FULL, BatchInvariantGraph
from service.engine.runtime.call import Batch, Call
from service.engine.runtime.composition import ComposedGraph
from service.engine.runtime.worker_pool import WorkerPool

Arrays = tuple[NDArray[np.float32], ...]


class Job:
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


class RunQueue(Protocol):
    """The queue of a run: what it runs, and who hears of it."""

    graph: BatchInvariantGraph | ComposedGraph
    worker_pool: WorkerPool
    model: str
    observer: EngineObserver

    @property
    def is_long(self) -> bool:
        """Whether one row keeps a worker for long."""

    def resolve(self, job: Job) -> None:
        """Answer a call. On the event loop."""

    def fail(self, job: Job, error: Exception) -> None:
        """Answer a call with an error. On the event loop."""


class ModelRun:
    """One run: slices of jobs, and the jobs that failed without one."""

    def __init__(self, queue: RunQueue) -> None:
        self.is_long = queue.is_long
        self.row_shape: tuple[int, ...] = ()  # of the slices
        self.slices: list[tuple[Job, int, int]] = []  # job, first row, row after the last
        self.failed: list[tuple[Job, Exception]] = []
        self._queue = queue
        self._finished: list[Job] = []
        self._wait_s = 0.0

    def add(self, job: Job, size: int, now_s: float) -> None:
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

    def _execute_together(self, slices: list[tuple[Job, int, int]]) -> None:
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
            queue.resolve(job)
        for job, error in self.failed:
            reason = _REASONS.get(type(error))
            if reason is not None and (job.future.cancelled() or not job.future.done()):
                queue.observer.dropped(queue.model, queue.graph.file, reason, job.count)
            queue.fail(job, error)

    def hand_out_soon(self) -> None:
        """From any thread: have the event loop answer, once for the whole batch."""
        for job in self._finished or [job for job, _ in self.failed]:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no call waits
                job.loop.call_soon_threadsafe(self.hand_out)
            return

    def _execute(self, slices: list[tuple[Job, int, int]]) -> None:
        queue = self._queue
        clock = queue.worker_pool.clock
        started_s = clock()
        parts = [job.rows[first:last] for job, first, last in slices]
        outputs = queue.graph.run(parts[0] if len(parts) == 1 else np.concatenate(parts))
        run_s = clock() - started_s
        at = 0
        for job, first, last in slices:
            size = last - first
            if job.call.batches is not None:
                job.call.batches.append(Batch(rows=len(outputs[0]), calls=len(slices), run_s=run_s))
            self._store(job, first, tuple(output[at : at + size] for output in outputs), run_s)
            at += size
        queue.observer.run(
            queue.model, queue.graph.file, rows=at, jobs=len(slices), wait_s=self._wait_s, run_s=run_s
        )
        self._wait_s = 0.0

    def _store(self, job: Job, first: int, pieces: Arrays, run_s: float) -> None:
        """Store a slice of a job's outputs; several workers may do so for one job at once."""
        size = len(pieces[0])
        if size == job.count:
            job.outputs, job.run_s = pieces, run_s
            self._finished.append(job)
            return
        lock = self._queue.worker_pool.lock
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


_REASONS: dict[type[Exception], str] = {
    DeadlineExceeded: "deadline",
    CallerDisconnected: "left",
    EngineStopped: "stopped",
}
