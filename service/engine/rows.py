"""A graph over many rows, such that no row's answer depends on its neighbours: not by one bit.

Knows arrays and one session. Knows nothing of what the rows mean.

onnxruntime computes most layers of a row alike whatever the batch, but not all: Elu, Celu, Softplus and what
is built on them (Mish) go through vector instructions whose remainder is computed by another formula, so a
value changes in its last bit (6e-8) with its place in the batch. Matrix products, convolutions, Relu,
Sigmoid, Silu, Gelu, Tanh, layer and group normalisation and attention gave equal bits for every batch from 1
to 65 on 1, 2 and 4 threads.

A seed must give the same image for ever, so nothing is left to belief. Only the batch sizes in
`BATCH_SIZES` are ever run, and each is compared, on this machine, when the model is loaded, with the same
rows run one by one. A graph that passes runs in chunks of these sizes; one that does not runs row by row,
which costs a small MLP 6 times and a residual decoder 1.1 times as much per image. Chunks also keep memory
flat: a request of any length needs the activations of 16 rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.engine.session import GraphSession

#: Powers of two, so that any number of rows needs few runs. Beyond 16 nothing gets faster per row: CPU time
#: at 1, 8, 16, 32, 64 rows is 235, 210, 210, 214, 218 µs for a residual decoder, 34, 9, 6, 6, 6 for an MLP.
BATCH_SIZES = (16, 8, 4, 2, 1)
ONE_BY_ONE = (1,)
#: A graph that takes longer for one row gains little from batches; comparing it would delay the start.
_SLOW_ROW_S = 0.010
#: Weight of the latest run in the running estimate of what a run takes.
_LATEST = 0.05


class RowRunner:
    """Runs a session over any number of rows, in batch sizes known to leave every bit as it is."""

    def __init__(self, session: GraphSession) -> None:
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
        """Compare every batch size with the rows run alone, bit for bit; use them if all agree.

        Also warms the session for each size it will meet. All or nothing: a graph that fails at one size has
        a layer whose arithmetic depends on the place in the batch, and may pass at another by luck.

        Args:
            rows: At least `BATCH_SIZES[0]` different inputs, such as the graph will see.
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
        """About how long `rows` rows take in one thread, from the runs so far."""
        whole, rest = divmod(rows, self._sizes[0])
        estimate = whole * self._seconds[self._sizes[0]]
        for size in self._sizes[1:]:
            if rest >= size:
                estimate += self._seconds[size]
                rest -= size
        return estimate

    def rows_within(self, seconds: float) -> int:
        """About how many rows can be run in that time, at least 1, in sizes that run well."""
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
        # The thread's own time: on the wall clock, waiting for the interpreter after the run would count
        # as well, make batches smaller, and so make itself more frequent.
        started_s = time.thread_time()
        outputs = self._session.run(rows)
        # Several threads may do this at once; one of them is lost then, and nothing depends on it.
        known_s = self._seconds[size]
        self._seconds[size] = known_s + _LATEST * (time.thread_time() - started_s - known_s)
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
