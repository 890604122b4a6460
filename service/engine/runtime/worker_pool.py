"""The worker pool: the inference threads of all models, each one core wide.

Knows queues with work, the bounds on waiting images and their values, and threads. Knows nothing of arrays,
graphs or event loops. Times are seconds on the monotonic clock.

Each worker is one thread, instead of one run over all cores: the rows of a batch are independent, so two
parallel runs need no barrier after each layer. On two cores, images/s of the bundled encoder in batches of 16
were 27,000 with two runs of one thread and 19,000 with one run of two; of the decoder 7,200 and 4,600; a run
of two threads also costs 20 to 30 % more CPU per image (`make bench ARGS=split`).

Workers have a higher niceness than the event loop's thread: an event loop that wakes gets a core soon, and
not at the end of a worker's time slice, up to 4 ms later. While a request of 4,096 images runs, the p99 of
single images is 2.5 times as long as alone, 3.0 times with a niceness of 5, and 3.5 times with none
(test_large_beside_small). Niceness weighs threads against all others of the same group: the container, the
service or the session.

A worker takes the queue that has waited longest, runs one batch of it (a few milliseconds, or one row), and
puts it back at the end. So no model and no request delays the others by more than the batches ahead.

One row of a large image may take seconds. Such long work does not count for the question whether a quick
batch may run on the event loop. While it keeps all workers, one more thread takes the other queues' work.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from service.engine.errors import EngineStopped, TooBusy

_log = logging.getLogger(__name__)
#: Longest wait reported to a refused caller; a longer one would be a guess.
_MOST_RETRY_AFTER_S = 60
#: Niceness of workers above that of the process: a seventh of the weight of an ordinary thread.
_NICER = 9


class Work(Protocol):
    """One batch of a queue: taken with the lock held, run without it."""

    @property
    def is_long(self) -> bool:
        """As of its queue."""

    def run(self) -> None:
        """Run, and deliver the results; raise nothing."""


class Queue(Protocol):
    """A queue, as the workers see it. All methods are called with `WorkerPool.lock` held."""

    @property
    def is_long(self) -> bool:
        """Whether one row keeps a worker for long."""

    def take(self) -> Work | None:
        """The next batch, or None when no wanted row waits."""

    def is_empty(self) -> bool:
        """Whether nothing waits."""

    def backlog_s(self) -> float:
        """Seconds that one worker would take for all its rows."""

    def fail_all(self, error: Exception) -> None:
        """Fail every waiting call with this error."""


class WorkerPool:
    """`count` threads over any number of queues, and the bound on the waiting images in all of them."""

    def __init__(
        self,
        count: int,
        *,
        max_waiting: int = 1 << 62,
        max_values: int = 1 << 62,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` starts the threads, or each starts on demand.

        Args:
            count: Threads, each running one model at a time.
            max_waiting: Maximum number of waiting images in all queues together.
            max_values: Maximum number of their values.
            clock: Monotonic seconds.
        """
        self.count = count
        self.max_waiting = max_waiting
        self.max_values = max_values
        self.clock = clock
        self.lock = threading.Lock()
        self._work_came = threading.Condition(self.lock)
        self._quick_work_came = threading.Condition(self.lock)
        self._ring: deque[Queue] = deque()  # queues with waiting work, each once
        self._threads: list[threading.Thread] = []
        self._spare: threading.Thread | None = None  # for quick work alone
        self._sleeping = 0
        self._long_runs = 0
        self._closed = False
        self.waiting = 0
        """Images in all queues that no run has taken yet. Changed with the lock held."""
        self.waiting_values = 0
        """Their values. Changed with the lock held."""
        self.running = 0
        """Runs in progress, on workers or inline. Changed with the lock held."""

    def start(self, most: int) -> int:
        """Start the threads; `count` becomes the number of threads that the system let start.

        Args:
            most: How many threads may be started; at least one is.

        Returns:
            That number. At 0, `count` does not change, and each queue with work tries again.
        """
        self.count = max(1, min(most, self.count))
        with self.lock, contextlib.suppress(RuntimeError, MemoryError):
            while len(self._threads) < self.count and not self._closed:
                self._start_one()
            if most > self.count and self._spare is None and not self._closed:
                self._start_spare()
        self.count = len(self._threads) or self.count
        return len(self._threads)

    # The rest of this class is called by queues.

    def admit(self, images: int, values: int, *, again: bool) -> None:
        """Count images and their values as waiting; always, for a call that was admitted before (`again`).

        Raises:
            TooBusy: The queues are full. A request that is larger than a bound itself is admitted when no
                other image waits.
            EngineStopped: `close` was called.
        """
        with self.lock:
            if self._closed:
                raise EngineStopped
            if (
                self.waiting
                and not again
                and (
                    self.waiting + images > self.max_waiting or self.waiting_values + values > self.max_values
                )
            ):
                raise TooBusy(self._retry_after_s())
            self.waiting += images
            self.waiting_values += values

    def taken(self, images: int, values: int) -> None:
        """Count images as waiting no more. Called with the lock held."""
        self.waiting -= images
        self.waiting_values -= values

    def refuse_when_full(self) -> None:
        """The check of `admit` for one image, without counting it: to refuse before a body is read.

        Raises:
            TooBusy: The queues are full.
        """
        if self._is_full():  # plain reads; `admit` decides under the lock
            with self.lock:
                if self._is_full():
                    raise TooBusy(self._retry_after_s())

    def _is_full(self) -> bool:
        return self.waiting >= self.max_waiting or self.waiting_values >= self.max_values

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and no row waits, except long work. Called with the lock held."""
        if self.running != self._long_runs:
            return False
        return not self._ring or all(queue.is_long for queue in self._ring)

    def offer(self, queue: Queue, *, workers: int) -> None:
        """Put a queue with work into the ring and wake up to `workers` threads. Called with the lock held."""
        if self._closed:
            queue.fail_all(EngineStopped())
            return
        if queue not in self._ring:
            self._ring.append(queue)
        missing = min(workers, self.count) - self._sleeping
        if missing > 0 and len(self._threads) < self.count:
            for _ in range(min(missing, self.count - len(self._threads))):
                self._start_one()
        self._work_came.notify(workers)
        if self._long_runs >= self.count and not queue.is_long:
            self._call_spare()

    def _call_spare(self) -> None:
        """Wake the thread for quick work; one that `start` had no room for is tried again."""
        if self._spare is None and not self._closed:
            with contextlib.suppress(RuntimeError, MemoryError):  # then the work waits for a worker
                self._start_spare()
        self._quick_work_came.notify()

    def close(self) -> None:
        """Let running batches finish, fail all waiting calls, and end the threads."""
        with self.lock:
            self._closed = True
            for queue in self._ring:
                queue.fail_all(EngineStopped())
            self._ring.clear()
            self._work_came.notify_all()
            self._quick_work_came.notify_all()
        for thread in (*self._threads, *([self._spare] if self._spare else [])):
            thread.join()

    def _retry_after_s(self) -> int:
        """Seconds until the queues will have been worked off."""
        seconds = sum(queue.backlog_s() for queue in self._ring) / self.count
        return max(1, min(_MOST_RETRY_AFTER_S, math.ceil(seconds)))

    def _start_spare(self) -> None:
        spare = threading.Thread(
            target=self._serve, args=(self._next_quick,), name="vae-infer-spare", daemon=True
        )
        spare.start()
        self._spare = spare

    def _start_one(self) -> None:
        thread = threading.Thread(
            target=self._serve, args=(self._next,), name=f"vae-infer-{len(self._threads)}", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _serve(self, take_next: Callable[[], Work | None]) -> None:
        _be_nicer()
        while True:
            with self.lock:
                work = take_next()
                if work is None:
                    return
                self.running += 1
                self._long_runs += work.is_long
                if self._long_runs >= self.count and not all(queue.is_long for queue in self._ring):
                    self._call_spare()
            try:
                work.run()
            except Exception as error:  # our own defect must not end the thread
                _log.error("inference thread failed", exc_info=error)
            finally:
                with self.lock:
                    self.running -= 1
                    self._long_runs -= work.is_long
                del work  # otherwise the last batch would stay in memory until the next

    def _next(self) -> Work | None:
        """Wait for work; None after `close`."""
        while not self._closed:
            while self._ring:
                queue = self._ring.popleft()
                work = queue.take()
                if not queue.is_empty():
                    self._ring.append(queue)
                if work is not None:
                    return work
            self._sleeping += 1
            self._work_came.wait()
            self._sleeping -= 1
        return None

    def _next_quick(self) -> Work | None:
        """The same for the spare thread, which leaves long work to the workers."""
        while not self._closed:
            for queue in [each for each in self._ring if not each.is_long]:
                self._ring.remove(queue)
                work = queue.take()
                if not queue.is_empty():
                    self._ring.append(queue)
                if work is not None:
                    return work
            self._quick_work_came.wait()
        return None


def _be_nicer() -> None:
    """The niceness of the calling thread alone, which only Linux supports."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it, without consequences
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
