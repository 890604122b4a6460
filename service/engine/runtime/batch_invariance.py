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
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes in use, largest first; (1,) until `allow_exact_batches` has found more."""
        return self._sizes

    @property
    def file(self) -> str:
        """File name of the graph, for messages."""
        return self._session.file

    def allow_exact_batches(self, rows: NDArray[np.float32]) -> None:
        """Compare every batch size with the rows run alone, bit for bit; use all sizes if they agree.

        Also warms the session for each size. All or nothing: a graph that fails at one size has a layer whose
        arithmetic depends on the place in the batch, and may pass at another size by luck.

        Args:
            rows: At least `BATCH_SIZES[0]` different inputs, like those of requests.
        """
        largest = BATCH_SIZES[0]
        assert len(rows) >= largest
        self._session.run(rows[:1])
        started_s = time.perf_counter()
        self._session.run(rows[:1])
        self._seconds[1] = time.perf_counter() - started_s
        if self._seconds[1] > _SLOW_ROW_S:
            return
        alone = [self._session.run(rows[i : i + 1]) for i in range(largest)]
        seconds: dict[int, float] = {}
        for size in BATCH_SIZES:
            started_s = time.perf_counter()
            together = self._session.run(rows[:size])
            seconds[size] = time.perf_counter() - started_s
            for output, values in enumerate(together):
                if any(values[i].tobytes() != alone[i][output][0].tobytes() for i in range(size)):
                    self._sizes = ONE_BY_ONE
                    return
        self._sizes = BATCH_SIZES
        self._seconds = seconds

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
        change_s = time.perf_counter() - started_s - known_s
        self._seconds[size] = known_s + (_FASTER if change_s < 0 else _SLOWER) * change_s
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
