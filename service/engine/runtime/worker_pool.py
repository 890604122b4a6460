"""The threads that run models: a few, for all models together, each one core wide.

Knows queues that have work, the bound on waiting images, and threads. Knows nothing of arrays, graphs or
event loops. Times are seconds on the monotonic clock.

Why workers of one thread each, instead of one run over all cores: the rows of a batch are independent, so two
runs side by side need no barrier after each layer. On two cores, images/s of the bundled encoder in batches
of 16 were 27,000 with two runs of one thread and 19,000 with one run of two; of the decoder 7,200 and 4,600;
a run of two threads also costs 20 to 30 % more CPU per image (`make bench ARGS=split`).

Workers are nicer than the event loop's thread: an event loop that wakes to read, to answer or to say that
it lives has a core soon, not when a worker's turn is over, which the system's clock may see 4 ms later. The
p99 of single images beside a request of 4,096 is 2.5 times as long as alone with it and 3.5 without
(test_large_beside_small). Niceness weighs threads against all others of the same group: of the container, the
service or the session, where the system makes such groups.

A worker takes the queue that has waited longest, runs one quantum of it, and puts it back at the end: no
model and no request can keep the others waiting for longer than the quanta that are ahead.
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
#: Longest wait that a refused caller is told; a longer one would be a guess.
_MOST_RETRY_AFTER_S = 60
#: By how much workers are nicer than the process: a third of the weight of a thread that is not.
_NICER = 5


class Work(Protocol):
    """One quantum of a queue, taken under the lock and run outside of it."""

    def run(self) -> None:
        """Runs and hands out the results; raises nothing."""


class Queue(Protocol):
    """What a worker needs of a queue. Both are called with `WorkerPool.lock` held."""

    def take(self) -> Work | None:
        """The next quantum, or None when nothing that is still wanted waits."""

    def is_empty(self) -> bool:
        """Whether nothing waits."""

    def backlog_s(self) -> float:
        """Seconds that one worker would take for all it holds."""

    def fail_all(self, error: Exception) -> None:
        """Gives up what waits."""


class WorkerPool:
    """`count` threads over any number of queues, and the bound on what may wait in all of them."""

    def __init__(
        self, count: int, *, max_waiting: int = 1 << 62, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Threads are started by `start`, or one by one when there is work for them.

        Args:
            count: Threads, each running one model at a time.
            max_waiting: Most images that wait in all queues together.
            clock: Monotonic seconds.
        """
        self.count = count
        self.max_waiting = max_waiting
        self.clock = clock
        self.lock = threading.Lock()
        self._work_came = threading.Condition(self.lock)
        self._ring: deque[Queue] = deque()  # queues with something waiting, each once
        self._threads: list[threading.Thread] = []
        self._sleeping = 0
        self._closed = False
        self.waiting = 0
        """Images in all queues that no run has taken yet. Changed with the lock held."""
        self.running = 0
        """Runs in progress, on workers or inline. Changed with the lock held."""

    def start(self, most: int) -> int:
        """Starts the threads; `count` is then the number of those that the system let start.

        Args:
            most: How many may be started; at least one is.

        Returns:
            That number. At 0, `count` stays, and each queue with work tries again.
        """
        self.count = max(1, min(most, self.count))
        with self.lock, contextlib.suppress(RuntimeError, MemoryError):
            while len(self._threads) < self.count and not self._closed:
                self._start_one()
        self.count = len(self._threads) or self.count
        return len(self._threads)

    # The rest of this class is called by queues.

    def admit(self, images: int, *, again: bool) -> None:
        """Counts `images` as waiting; whoever was admitted before (`again`) always is.

        Raises:
            TooBusy: As many wait already as may; a request that is larger than the bound itself is taken
                when nothing else waits.
            EngineStopped: `close` was called.
        """
        with self.lock:
            if self._closed:
                raise EngineStopped
            if self.waiting and not again and self.waiting + images > self.max_waiting:
                raise TooBusy(self._retry_after_s())
            self.waiting += images

    def refuse_when_full(self) -> None:
        """What `admit` would say to one image, without counting it: to refuse before a body is read.

        Raises:
            TooBusy: As `admit`.
        """
        if self.waiting >= self.max_waiting:  # one plain read; `admit` decides under the lock
            with self.lock:
                if self.waiting >= self.max_waiting:
                    raise TooBusy(self._retry_after_s())

    @property
    def is_idle(self) -> bool:
        """Nothing runs and nothing waits. Asked with the lock held."""
        return self.running == 0 and not self._ring

    def offer(self, queue: Queue, *, workers: int) -> None:
        """Put a queue with work into the ring and wake up to `workers` threads. Called with the lock held."""
        if queue not in self._ring:
            self._ring.append(queue)
        missing = min(workers, self.count) - self._sleeping
        if missing > 0 and len(self._threads) < self.count:
            for _ in range(min(missing, self.count - len(self._threads))):
                self._start_one()
        self._work_came.notify(workers)

    def close(self) -> None:
        """Lets what runs finish, gives up what waits, and ends the threads."""
        with self.lock:
            self._closed = True
            for queue in self._ring:
                queue.fail_all(EngineStopped())
            self._ring.clear()
            self._work_came.notify_all()
        for thread in self._threads:
            thread.join()

    def _retry_after_s(self) -> int:
        """When what waits now will have been worked off."""
        seconds = sum(queue.backlog_s() for queue in self._ring) / self.count
        return max(1, min(_MOST_RETRY_AFTER_S, math.ceil(seconds)))

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"vae-infer-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        _be_nicer()
        while True:
            with self.lock:
                work = self._next()
                if work is None:
                    return
                self.running += 1
            try:
                work.run()
            except Exception as error:  # a defect of ours must not end the thread
                _log.error("inference thread failed", exc_info=error)
            finally:
                with self.lock:
                    self.running -= 1
                del work  # or the last batch would stay alive until the next

    def _next(self) -> Work | None:
        """Waits for work; None when closed."""
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


def _be_nicer() -> None:
    """The calling thread alone, which only Linux can do."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it, and nothing depends on it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)
