"""Batch invariance: a graph runs many rows, and no bit of a row's output depends on the other rows.

Knows arrays and one session. Knows nothing of the meaning of the rows.

onnxruntime computes most layers of a row alike in every batch, but not all: Elu, Celu, Softplus and Mish use
vector instructions that compute the remainder by another formula, so a value changes in its last bit (6e-8)
with its place in the batch. Matrix products, convolutions, Relu, Sigmoid, Silu, Gelu, Tanh, layer and group
normalisation and attention gave equal bits for every batch from 1 to 65 on 1, 2 and 4 threads.

A seed must give the same image for ever, so every graph is tested. Only the batch sizes in `BATCH_SIZES` are
run. When the model is loaded, each size is compared with the same rows run one by one, on this machine. A
graph that passes runs in chunks of these sizes. A graph that fails runs row by row, which costs a small MLP 6
times and a residual decoder 1.1 times as much per image. Chunks also keep memory flat: a request of any
length needs the activations of 64 rows.

The first run of a graph decides whether it is compared at all. A graph that takes milliseconds for a row
gains nothing from batches, and comparing it costs 265 rows: 64 of 512 × 512 pixels took 2.8 GB and 15 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Every size up to 16, so that all waiting rows are one run: seven rows of an MLP took three runs, and
#: twice as long, when only powers of two were run. Beyond, little gets faster: at 1, 16, 64 rows a row takes
#: 31, 8.4, 7.8 µs of an MLP's encoder and 139, 116, 117 of a residual one; but each run costs Python 10 µs.
BATCH_SIZES = (64, *range(16, 0, -1))
#: A request with this many rows fills runs by itself.
FULL = 16
ONE_BY_ONE = (1,)
#: A graph that takes longer for one row gains little from batches, and comparing it, 265 rows of it, would
#: delay the start.
_SLOW_ROW_S = 0.002
#: A first run of more time is slow beyond doubt, although it contains what a session does only once.
_SLOW_FIRST_RUN_S = 0.05
#: Runs of so many seconds keep a worker from the requests of other models (`worker_pool`).
LONG_RUN_S = 0.02
#: Weight of the latest run in the running estimate of a run's seconds: large when it was faster, small when
#: it was slower, because mostly the wait for a core or for the interpreter makes a run slower. That wait must
#: not count: it would make batches smaller and so itself more frequent. (The thread's own clock would leave
#: it out too, but is a system call: 8 µs, where a run of a small model takes 30.)
_FASTER, _SLOWER = 0.25, 0.01


class RunnableGraph(Protocol):
    """A graph of a trained version, or an imported one behind the same tensors."""

    @property
    def file(self) -> str:
        """File name of the graph, for messages."""

    def run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """One pass over a batch, in the calling thread."""


class BatchInvariantGraph:
    """Runs a session over any number of rows, in batch sizes that preserve every bit."""

    def __init__(self, session: RunnableGraph) -> None:
        self._session = session
        self._sizes: tuple[int, ...] = ONE_BY_ONE
        self._seconds: dict[int, float] = {1: _SLOW_ROW_S}  # of one run, by size; a running estimate
        self._is_measured = False
        self.is_long = False
        """Whether one row takes longer than `LONG_RUN_S`, by the runs so far."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes in use, largest first; (1,) until `allow_exact_batches` has found more."""
        return self._sizes

    @property
    def file(self) -> str:
        """File name of the graph, for messages."""
        return self._session.file

    def first_run(self, row: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run one row, and measure the time of a row: twice, unless the first run is slow beyond doubt.

        Args:
            row: C-contiguous float32, shape (1, …).

        Returns:
            All outputs of the row.

        Raises:
            InferenceFailed: onnxruntime raised.
        """
        # Processor time of this thread, because a busy machine must not make a graph slow for ever.
        started_s = time.thread_time()
        outputs = self._session.run(row)
        row_s = time.thread_time() - started_s
        if row_s <= _SLOW_FIRST_RUN_S:
            started_s = time.thread_time()
            self._session.run(row)
            row_s = time.thread_time() - started_s
        self._seconds[1] = row_s
        self._is_measured = True
        self.is_long = row_s > LONG_RUN_S
        return outputs

    def allow_exact_batches(self, draw: Callable[[int], NDArray[np.float32]]) -> bool:
        """Compare every batch size with the rows run alone, bit for bit; use all sizes if they agree.

        Also warms the session for each size. All or nothing: a graph that fails at one size has a layer whose
        arithmetic depends on the place in the batch, and may pass at another size by luck. A graph that
        `first_run` found slow is not compared.

        Args:
            draw: Makes so many different inputs, like those of requests. Called only if they are compared:
                64 large images are much memory.

        Returns:
            Whether the graph was compared.
        """
        if self._seconds[1] > _SLOW_ROW_S:
            return False
        largest = BATCH_SIZES[0]
        rows = draw(largest)
        assert len(rows) >= largest
        alone = [self._session.run(rows[i : i + 1]) for i in range(largest)]
        seconds: dict[int, float] = {}
        for size in BATCH_SIZES:
            started_s = time.perf_counter()
            together = self._session.run(rows[:size])
            seconds[size] = time.perf_counter() - started_s
            for output, values in enumerate(together):
                if any(values[i].tobytes() != alone[i][output][0].tobytes() for i in range(size)):
                    self._sizes = ONE_BY_ONE
                    return True
        self._sizes = BATCH_SIZES
        self._seconds = seconds
        return True

    def seconds(self, rows: int) -> float:
        """Estimated duration of `rows` rows in one thread, from the runs so far."""
        if rows in self._seconds:
            return self._seconds[rows]
        return sum(self._seconds[size] for _, size in chunks(rows, self._sizes))

    def rows_within(self, seconds: float) -> int:
        """Estimated number of rows in that time, at least 1, in efficient sizes."""
        whole = int(seconds / self._seconds[self._sizes[0]])
        if whole:
            return whole * self._sizes[0]
        return next((size for size in self._sizes if self._seconds[size] <= seconds), 1)

    def run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """All outputs for all rows, each row's bits the same as if it had come alone.

        Args:
            rows: C-contiguous float32, shape (rows, …), at least one row.

        Raises:
            InferenceFailed: onnxruntime raised.
        """
        if len(rows) in self._sizes:
            return self._run(rows)
        outputs: tuple[NDArray[np.float32], ...] = ()
        for start, size in chunks(len(rows), self._sizes):
            part = self._run(rows[start : start + size])
            if not outputs:
                outputs = tuple(np.empty((len(rows), *p.shape[1:]), np.float32) for p in part)
            for whole, piece in zip(outputs, part, strict=True):
                whole[start : start + size] = piece
        return outputs

    def _run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        size = len(rows)
        started_s = time.perf_counter()
        outputs = self._session.run(rows)
        # Concurrent threads may lose an update, which has no consequence.
        known_s = self._seconds[size]
        run_s = time.perf_counter() - started_s
        if self._is_measured:
            run_s = known_s + (_FASTER if run_s < known_s else _SLOWER) * (run_s - known_s)
        self._seconds[size] = run_s
        if size == 1:
            self._is_measured = True
            self.is_long = run_s > LONG_RUN_S
        return outputs


def chunks(count: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(start, size) pairs that cover `count` rows, always with the largest size that fits.

    Args:
        count: Number of rows.
        sizes: Allowed sizes, descending, ending in 1.
    """
    start = 0
    for size in sizes:
        while count - start >= size:
            yield start, size
            start += size
