"""Two graphs as one: a queue runs both on the same rows, without a second wait between them.

Knows the batch-invariant graphs and their estimates. Knows nothing of the meaning of the rows. Both preserve
every bit of a row in any batch, so the composition does too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.engine.runtime.batch_invariance import BatchInvariantGraph

Arrays = tuple[NDArray[np.float32], ...]


class ComposedGraph:
    """Runs two graphs over any number of rows, with the interface of one."""

    def __init__(
        self,
        first: BatchInvariantGraph,
        second: BatchInvariantGraph,
        run: Callable[[BatchInvariantGraph, BatchInvariantGraph, NDArray[np.float32]], Arrays],
    ) -> None:
        """`run` computes all outputs from both graphs and the rows."""
        self._first = first
        self._second = second
        self._run = run

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes in which both run, largest first."""
        return min(self._first.batch_sizes, self._second.batch_sizes, key=len)

    @property
    def is_long(self) -> bool:
        """Whether one row of either keeps a worker for long."""
        return self._first.is_long or self._second.is_long

    @property
    def file(self) -> str:
        """File names of both graphs, for messages."""
        return f"{self._first.file}+{self._second.file}"

    def seconds(self, rows: int) -> float:
        """Estimated duration of `rows` rows in one thread."""
        return self._first.seconds(rows) + self._second.seconds(rows)

    def rows_within(self, seconds: float) -> int:
        """Estimated number of rows in that time, at least 1, in efficient sizes."""
        largest = self.batch_sizes[0]
        whole = int(seconds / self.seconds(largest))
        if whole:
            return whole * largest
        return next((size for size in self.batch_sizes if self.seconds(size) <= seconds), 1)

    def run(self, rows: NDArray[np.float32]) -> Arrays:
        """All outputs for all rows.

        Raises:
            InferenceFailed: onnxruntime raised.
        """
        return self._run(self._first, self._second, rows)


def one_after_the_other(
    first: BatchInvariantGraph, second: BatchInvariantGraph, rows: NDArray[np.float32]
) -> Arrays:
    """The outputs of the second graph for those of the first, which has one, and then those of the first."""
    (between,) = first.run(rows)
    return (*second.run(between), between)


def side_by_side(
    first: BatchInvariantGraph, second: BatchInvariantGraph, rows: NDArray[np.float32]
) -> Arrays:
    """The outputs of both graphs for the same rows."""
    return (*first.run(rows), *second.run(rows))
