"""Rows that take long, those of large images: bounded by values and by time, and in no other model's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import numpy as np
import pytest
from clocks import Clock
from gated_graphs import GatedGraph
from patience import PATIENCE_S

from service.engine.errors import DeadlineExceeded, TooBusy
from service.engine.observer import Unobserved
from service.engine.runtime import batcher
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call
from service.engine.runtime.worker_pool import WorkerPool

pytestmark = pytest.mark.hazard_row("long-rows")

#: Of one row, by the account of the graph.
ROW_S = 2.0
#: Numbers of the image of a row.
VALUES = 1000


class Bench:
    """Two workers, a queue of long rows, and one of quick rows."""

    def __init__(self, *, count: int = 2, max_values: int = 1 << 40, quick_row_s: float = 1e-5) -> None:
        self.clock = Clock()
        self.pool = WorkerPool(count, max_values=max_values, clock=self.clock)
        self.long = GatedGraph(row_s=ROW_S, is_long=ROW_S > batcher.INLINE_S)
        self.quick = GatedGraph(row_s=quick_row_s)
        self.quick.gate.set()
        self.queues = {
            graph: GraphQueue(
                cast(Any, graph), self.pool, model="m@1", observer=Unobserved(), row_values=VALUES
            )
            for graph in (self.long, self.quick)
        }

    def ask(
        self, graph: GatedGraph, rows: int, call: Call | None = None, size: int = 1
    ) -> asyncio.Future[Any]:
        return self.queues[graph].run(np.zeros((rows, size), np.float32), call or Call())

    def due(self, seconds: float) -> Call:
        return Call(deadline_s=self.clock.now_s + seconds)

    async def occupied(self) -> list[asyncio.Future[Any]]:
        """Every worker runs a long row until the gate opens."""
        busy = [self.ask(self.long, 1) for _ in range(self.pool.count)]
        for _ in busy:
            await asyncio.to_thread(self.long.entered.acquire)
        return busy


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def made(**options: Any) -> Bench:
        benches.append(Bench(**options))
        return benches[-1]

    yield made
    for bench in benches:
        bench.long.gate.set()
        bench.pool.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(limited())


def test_values_of_waiting_images_are_bounded_as_well_as_their_number(make: Callable[..., Bench]) -> None:
    """1,024 images of 3 × 512 × 512 floats that wait are 3.2 GB."""
    bench = make(max_values=5 * VALUES)

    async def test() -> None:
        busy = await bench.occupied()
        waiting = [bench.ask(bench.long, 3), bench.ask(bench.long, 2)]
        with pytest.raises(TooBusy):
            bench.ask(bench.long, 1)
        with pytest.raises(TooBusy):
            bench.pool.refuse_when_full()
        bench.long.gate.set()
        await asyncio.gather(*busy, *waiting)
        bench.pool.refuse_when_full()

    run(test)
    assert (bench.pool.waiting, bench.pool.waiting_values) == (0, 0)


def test_a_request_beyond_the_bound_on_values_is_taken_when_nothing_waits(make: Callable[..., Bench]) -> None:
    bench = make(max_values=VALUES)
    bench.long.gate.set()
    run(lambda: _answered(bench.ask(bench.long, 3)))
    assert bench.pool.waiting_values == 0


async def _answered(future: asyncio.Future[Any]) -> None:
    await future


def test_what_cannot_be_done_in_time_is_refused_before_it_runs(make: Callable[..., Bench]) -> None:
    """Eight latents of 512 px ran into the limit of 30 s, and the client learned it after 30 s."""
    bench = make()
    bench.long.gate.set()

    async def test() -> None:
        with pytest.raises(DeadlineExceeded) as refused:
            bench.ask(bench.long, 9, bench.due(8.5))  # five rows after one another, of 2 s each
        assert "about 10 s for 9 runs of the model, and 8 s are left" in str(refused.value)
        assert "Send at most 8 at once." in str(refused.value)
        await bench.ask(bench.long, 8, bench.due(8.5))

    run(test)
    assert len(bench.long.runs) == 8


def test_one_row_that_takes_longer_than_the_limit_names_the_setting(make: Callable[..., Bench]) -> None:
    bench = make()

    async def test() -> None:
        with pytest.raises(DeadlineExceeded, match="VAE_REQUEST_TIMEOUT_S"):
            bench.ask(bench.long, 1, bench.due(1.0))

    run(test)
    assert bench.long.runs == []


def test_what_waits_for_too_long_is_refused_with_the_time_to_come_back(make: Callable[..., Bench]) -> None:
    bench = make()

    async def test() -> None:
        busy = await bench.occupied()
        waiting = [bench.ask(bench.long, 3) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy) as refused:
            bench.ask(bench.long, 4, bench.due(10.0))  # after 4 × 3 rows: 16 s on two workers
        assert refused.value.retry_after_s == 6
        # One row waits for one row of each request only: the others return to the end of the queue.
        one = bench.ask(bench.long, 1, bench.due(10.0))
        admitted = bench.due(10.0)
        admitted.is_admitted = True
        second_half = bench.ask(bench.long, 4, admitted)  # what was begun is not given up half way
        bench.long.gate.set()
        await asyncio.gather(*busy, *waiting, one, second_half)

    run(test)


def test_draws_of_a_score_are_estimated_together(make: Callable[..., Bench]) -> None:
    bench = make()
    queue = bench.queues[bench.long]
    queue.check_time(8, bench.due(8.5))
    queue.check_time(1000, Call())
    with pytest.raises(DeadlineExceeded):
        queue.check_time(9, bench.due(8.5))
    bench.queues[bench.quick].check_time(1 << 40, bench.due(0.001))  # quick rows are not estimated


def test_a_quick_batch_runs_on_the_event_loop_while_long_rows_keep_every_worker(
    make: Callable[..., Bench],
) -> None:
    bench = make()

    async def test() -> None:
        busy = await bench.occupied()
        waiting = bench.ask(bench.long, 1)
        await asyncio.sleep(0)
        await bench.ask(bench.quick, 1)
        assert bench.quick.thread_names == [threading.current_thread().name]
        bench.long.gate.set()
        await asyncio.gather(*busy, waiting)

    run(test)


@pytest.mark.parametrize("is_busy_before", [True, False])
def test_batches_for_workers_pass_long_rows_on_a_thread_of_their_own(
    make: Callable[..., Bench], is_busy_before: bool
) -> None:
    bench = make(count=1, quick_row_s=4e-4)

    async def test() -> None:
        busy = await bench.occupied() if is_busy_before else [bench.ask(bench.long, 1)]
        await bench.ask(bench.quick, 20)
        assert not busy[0].done()
        bench.long.gate.set()
        await asyncio.gather(*busy)

    run(test)
    assert set(bench.quick.thread_names) <= {"vae-infer-0", "vae-infer-spare"}
    assert bench.long.thread_names == ["vae-infer-0"]


def test_rows_of_two_sizes_never_share_a_run(make: Callable[..., Bench]) -> None:
    bench = make(count=1, quick_row_s=1e-6)

    async def test() -> None:
        answers = await asyncio.gather(*(bench.ask(bench.quick, 1, size=size) for size in (2, 2, 3, 2)))
        assert [answer[0].shape[1] for answer in answers] == [2, 2, 3, 2]

    run(test)
    assert [rows.shape for rows in bench.quick.runs] == [(2, 2), (1, 3), (1, 2)]
