"""Priorities: a request overtakes those that arrived a little earlier, and starves none."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from clocks import Clock
from gated_graphs import GatedGraph
from patience import PATIENCE_S

from service.engine.observer import Unobserved
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import HEAD_START_S, Batch, Call, priority_head_start_s
from service.engine.runtime.worker_pool import WorkerPool


class Graph(GatedGraph):
    """Two rows at a time."""

    rows_per_run = 2

    def __init__(self) -> None:
        super().__init__(row_s=1.0)

    def rows_within(self, seconds: float) -> int:
        return self.rows_per_run


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, clock=Clock())
    pool.start(1)
    yield pool
    pool.close()


def queue_of(graph: Graph, pool: WorkerPool) -> GraphQueue:
    return GraphQueue(cast(Any, graph), pool, model="m@1", observer=Unobserved())


def rows_of(number: float, count: int = 1) -> np.ndarray:
    return np.full((count, 1), number, np.float32)


def order(pool: WorkerPool, *requests: tuple[float, int, int, float]) -> list[float]:
    """The order in which rows run of requests (number, rows, priority, seconds after the first).

    The first request occupies the worker while the others arrive.
    """
    graph, clock = Graph(), cast(Clock, pool.clock)
    queue = queue_of(graph, pool)

    async def all_of_them() -> None:
        first = queue.run(rows_of(0.0, graph.rows_per_run), Call())
        await asyncio.to_thread(graph.entered.acquire)
        waiting = []
        for number, count, priority, after_s in requests:
            clock.now_s = 100.0 + after_s
            call = Call(head_start_s=priority_head_start_s(priority))
            waiting.append(queue.run(rows_of(number, count), call))
            await asyncio.sleep(0)  # each arrives in a turn of its own
        graph.gate.set()
        await asyncio.wait_for(asyncio.gather(first, *waiting), PATIENCE_S)

    asyncio.run(all_of_them())
    return list(itertools.chain(*graph.first_numbers))[graph.rows_per_run :]


def test_without_priorities_the_order_is_that_of_arrival(pool: WorkerPool) -> None:
    assert order(pool, *((n, 1, 0, n / 100) for n in range(1, 7))) == [1, 2, 3, 4, 5, 6]


def test_lower_numbers_are_served_first(pool: WorkerPool) -> None:
    assert order(pool, (1, 1, 9, 0), (2, 1, 0, 0.01), (3, 1, 1, 0.02), (4, 1, 4, 0.03)) == [3, 4, 2, 1]


def test_equal_priorities_keep_their_order(pool: WorkerPool) -> None:
    assert order(pool, *((n, 1, 1 if n % 2 else 9, n / 100) for n in range(1, 7))) == [1, 3, 5, 2, 4, 6]


def test_default_is_the_middle(pool: WorkerPool) -> None:
    assert priority_head_start_s(0) == priority_head_start_s(5) == 0.0
    assert priority_head_start_s(2**64 - 1) == priority_head_start_s(9) == -4 * HEAD_START_S
    assert order(pool, (1, 1, 6, 0), (2, 1, 5, 0.01), (3, 1, 0, 0.02), (4, 1, 4, 0.03)) == [4, 2, 3, 1]


def test_no_request_waits_longer_than_the_bound(pool: WorkerPool) -> None:
    """The last priority is served before a first one that arrives after the bound."""
    bound_s = 8 * HEAD_START_S
    requests = [(1.0, 1, 9, 0.0), *((2.0 + n, 1, 1, n * bound_s / 4) for n in range(8))]
    assert order(pool, *requests).index(1.0) in (4, 5)


def test_large_request_of_the_first_priority_shares_with_small_ones(pool: WorkerPool) -> None:
    """Its first rows go before them; then it takes turns, as without a priority."""
    found = order(pool, (1, 1, 0, 0), (2, 1, 0, 0), (9, 8, 1, 0.01), (3, 1, 0, 0.02), (4, 1, 0, 0.02))
    assert found == [9, 9, 1, 2, 3, 4, 9, 9, 9, 9, 9, 9]


def test_call_knows_the_runs_that_had_its_rows(pool: WorkerPool) -> None:
    graph = Graph()
    graph.gate.set()
    queue = queue_of(graph, pool)

    async def run() -> tuple[list[Batch], list[Batch]]:
        one, three = Call(batches=[]), Call(batches=[])
        await asyncio.gather(queue.run(rows_of(1.0), one), queue.run(rows_of(2.0, 3), three))
        return one.batches, three.batches

    one, three = asyncio.run(run())
    assert sum(batch.rows / batch.calls for batch in (*one, *three)) == pytest.approx(4)
    assert sum(1 / batch.calls for batch in three) >= 1
