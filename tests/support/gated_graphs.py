"""Graphs for tests of queues: they answer their rows, note each run, and wait for a gate.

Knows the part of a graph that a queue uses, and threads. Knows nothing of ONNX.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray
from patience import PATIENCE_S

Rows = NDArray[np.float32]


class GatedGraph:
    """Each run waits for the gate, which is closed at first; `entered` counts the runs that have begun."""

    file = "fake.onnx"

    def __init__(self, *, row_s: float, is_long: bool = False) -> None:
        """A graph that has not run.

        Args:
            row_s: Seconds of one row, by its own account.
            is_long: Whether one row takes too long for the event loop.
        """
        self.row_s = row_s
        self.is_long = is_long
        self.batch_sizes: tuple[int, ...] = (64, 1)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.runs: list[Rows] = []
        self.threads: list[threading.Thread] = []

    @property
    def first_numbers(self) -> list[list[float]]:
        """The first number of each row, run by run."""
        return [rows[:, 0].tolist() for rows in self.runs]

    @property
    def thread_names(self) -> list[str]:
        """Of each run."""
        return [thread.name for thread in self.threads]

    def seconds(self, rows: int) -> float:
        return rows * self.row_s

    def rows_within(self, seconds: float) -> int:
        return max(1, int(seconds / self.row_s + 1e-9))

    def run(self, rows: Rows) -> tuple[Rows, ...]:
        self.threads.append(threading.current_thread())
        self.runs.append(rows.copy())
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        return self.answer(rows)

    def answer(self, rows: Rows) -> tuple[Rows, ...]:
        """What a run returns."""
        return (rows,)
