"""A queue of the engine over a graph that waits at a gate, with a clock that a test sets.

Knows the queue. Knows nothing of models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
from clocks import Clock
from gated_graphs import GatedGraph
from patience import PATIENCE_S

from service.engine import InferenceFailed
from service.engine.runtime import batcher
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.worker_pool import WorkerPool

T = TypeVar("T")


class DoublingGraph(GatedGraph):
    """Doubles its rows, 100 µs a row by its own account; the gate is open at first."""

    def __init__(self, *, row_s: float = 0.0001) -> None:
        super().__init__(row_s=row_s)
        self.gate.set()
        self.poison = -1.0

    def answer(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        if (rows == self.poison).any():
            raise InferenceFailed("fake.onnx: the runtime gave up")
        return rows * 2, -rows


class Recorder:
    """What an observer was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def queued(self, model: str, graph: str, images: int) -> None:
        self.told.append(("queued", model, graph, images))

    def run(self, model: str, graph: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        self.told.append(("run", model, graph, rows, jobs))

    def dropped(self, model: str, graph: str, reason: str, images: int) -> None:
        self.told.append(("dropped", model, graph, reason, images))


class Bench:
    """A queue over a gated runner."""

    def __init__(self, *, count: int = 1, max_waiting: int = 1000, row_s: float = 0.0001) -> None:
        self.clock = Clock()
        self.graph = DoublingGraph(row_s=row_s)
        self.observer = Recorder()
        self.worker_pool = WorkerPool(count, max_waiting=max_waiting, clock=self.clock)
        self.queue = GraphQueue(self.graph, self.worker_pool, model="tiny@1", observer=self.observer)  # type: ignore[arg-type]

    def rows(self, *values: float) -> np.ndarray:
        return np.array(values, np.float32).reshape(-1, 1)

    def ask(self, *values: float, call: Call | None = None) -> asyncio.Future[Any]:
        return self.queue.run(self.rows(*values), call or Call())

    async def block(self) -> asyncio.Future[Any]:
        """Occupies one worker until the gate opens, with rows too many for the event loop itself."""
        self.graph.gate.clear()
        rows = self.graph.rows_within(batcher.QUANTUM_S)
        blocker = self.ask(*[0.5] * rows)
        await asyncio.to_thread(self.graph.entered.acquire)
        return blocker


def together(test: Callable[[], Awaitable[T]]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await test()

    return asyncio.run(limited())
