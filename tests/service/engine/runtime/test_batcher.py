"""Batching: one model run for many callers, of whom none notices another."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_bench import Bench, together

from service.engine.errors import (
    CallerDisconnected,
    DeadlineExceeded,
    EngineStopped,
    InferenceFailed,
    TooBusy,
)
from service.engine.runtime import batcher
from service.engine.runtime.batch_invariance import FULL
from service.engine.runtime.batcher import GraphQueue
from service.engine.runtime.call import Call


def test_what_arrives_in_one_turn_is_one_run_on_the_event_loop_itself(bench: Bench) -> None:
    async def test() -> None:
        answers = await asyncio.gather(*(bench.ask(float(i)) for i in range(5)))
        assert [a[0].item() for a in answers] == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert [a[1].item() for a in answers] == [0.0, -1.0, -2.0, -3.0, -4.0]

    together(test)
    assert bench.graph.first_numbers == [[0.0, 1.0, 2.0, 3.0, 4.0]]
    assert set(bench.graph.thread_names) == {threading.current_thread().name}
    assert bench.observer.told == [("run", "tiny@1", "fake.onnx", 5, 5)]


def test_what_would_hold_up_the_event_loop_goes_to_a_lane(bench: Bench) -> None:
    async def test() -> None:
        await bench.ask(*range(int(batcher.INLINE_S / bench.graph.row_s) + 2))

    together(test)
    assert set(bench.graph.thread_names) == {"vae-infer-0"}


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_a_request_that_fills_a_run_goes_to_a_worker_if_that_pays(bench: Bench, share: float) -> None:
    bench.graph.row_s = share * batcher.HAND_OVER_S / FULL
    together(lambda: bench.ask(*[1.0] * FULL))
    where = "vae-infer-0" if share > 1 else threading.current_thread().name
    assert set(bench.graph.thread_names) == {where}


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_workers_are_nicer_than_the_event_loop(bench: Bench) -> None:
    nice: list[int] = []

    def run(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return (rows,)

    bench.graph.run = run
    together(lambda: bench.ask(*[1.0] * FULL))
    assert set(nice) == {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 9)}


def test_what_waits_while_the_model_is_busy_becomes_one_batch(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        waiting = [bench.ask(float(i)) for i in range(4)]
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(blocker, *waiting)

    together(test)
    assert bench.graph.first_numbers[1:] == [[0.0, 1.0, 2.0, 3.0]]
    assert bench.worker_pool.waiting == 0


@contextmanager
def small_calls_wait(count: int, ask: Callable[[Bench], list[asyncio.Future[Any]]]) -> Iterator[list[int]]:
    """The sizes of the runs, largest first, of calls that arrive in one turn while all workers are busy."""
    bench = Bench(count=count)
    assert bench.graph.rows_within(batcher.QUANTUM_S) == 12
    assert bench.graph.rows_within(batcher.TOGETHER_S) == 40

    async def test() -> None:
        blockers = [await bench.block() for _ in range(count)]
        calls = ask(bench)
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(*blockers, *calls, return_exceptions=True)
        assert all(call.cancelled() or call.result()[0].shape for call in calls)

    try:
        together(test)
        yield sorted(map(len, bench.graph.first_numbers[count:]), reverse=True)
    finally:
        bench.graph.gate.set()
        bench.worker_pool.close()


@pytest.mark.parametrize(("count", "runs"), [(1, [40, 5]), (2, [23, 12, 10]), (4, [12, 12, 12, 9])])
def test_each_worker_takes_its_share_of_many_small_requests(count: int, runs: list[int]) -> None:
    with small_calls_wait(count, lambda bench: [bench.ask(float(i)) for i in range(45)]) as sizes:
        assert sizes == runs


def test_a_large_request_counts_as_one_slice_of_what_waits() -> None:
    def ask(bench: Bench) -> list[asyncio.Future[Any]]:
        return [*(bench.ask(float(i)) for i in range(36)), bench.ask(*range(480))]

    with small_calls_wait(4, ask) as sizes:
        assert sizes == [12] * (3 + 40)


def test_a_request_that_left_does_not_make_a_batch_longer() -> None:
    def ask(bench: Bench) -> list[asyncio.Future[Any]]:
        large = bench.ask(*range(480))
        large.cancel()
        return [large, *(bench.ask(float(i)) for i in range(24))]

    with small_calls_wait(2, ask) as sizes:
        assert sizes == [12, 12]


def test_rows_that_run_one_by_one_wait_for_no_more_than_a_quantum() -> None:
    def ask(bench: Bench) -> list[asyncio.Future[Any]]:
        bench.graph.batch_sizes = (1,)
        return [bench.ask(float(i)) for i in range(30)]

    with small_calls_wait(1, ask) as sizes:
        assert sizes == [12, 12, 6]


def test_small_requests_are_not_split() -> None:
    with small_calls_wait(1, lambda bench: [bench.ask(1.0, 2.0, 3.0) for _ in range(20)]) as sizes:
        assert sizes == [39, 21]


def test_a_large_request_goes_in_slices_with_the_small_ones_between(bench: Bench) -> None:
    quantum = bench.graph.rows_within(batcher.QUANTUM_S)
    count = 2 * quantum + 7

    async def test() -> None:
        blocker = await bench.block()
        large = bench.ask(*[float(i) for i in range(count)])
        small = [bench.ask(1000.0), bench.ask(1001.0)]
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(blocker, large, *small)
        np.testing.assert_array_equal(large.result()[0][:, 0], 2 * np.arange(count, dtype=np.float32))
        np.testing.assert_array_equal(large.result()[1][:, 0], -np.arange(count, dtype=np.float32))

    together(test)
    # After one slice of the large one, not after all; and alone, not with the next slice.
    assert [len(run) for run in bench.graph.first_numbers] == [quantum, quantum, 2, quantum, 7]
    assert bench.graph.first_numbers[2] == [1000.0, 1001.0]


def test_the_rest_of_a_large_request_goes_with_the_small_ones(bench: Bench) -> None:
    quantum = bench.graph.rows_within(batcher.QUANTUM_S)

    async def test() -> None:
        blocker = await bench.block()
        large = bench.ask(*[float(i) for i in range(quantum + 3)])
        small = bench.ask(1000.0)
        await asyncio.sleep(0)
        late = [bench.ask(1001.0 + i) for i in range(2)]
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(blocker, large, small, *late)

    together(test)
    assert [len(run) for run in bench.graph.first_numbers] == [quantum, quantum, 6]


def test_slices_of_one_request_may_run_on_several_workers_at_once() -> None:
    bench = Bench(count=2)

    async def test() -> None:
        bench.graph.gate.clear()
        large = bench.ask(*[float(i) for i in range(90)])
        for _ in range(2):
            await asyncio.to_thread(bench.graph.entered.acquire)
        bench.graph.gate.set()
        np.testing.assert_array_equal((await large)[0][:, 0], 2 * np.arange(90, dtype=np.float32))

    together(test)
    assert set(bench.graph.thread_names) == {"vae-infer-0", "vae-infer-1"}
    bench.worker_pool.close()


@pytest.mark.hazard_row("batch-mates")
def test_cancelled_caller_does_not_strand_its_batch_mates(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        waiting = [bench.ask(float(i)) for i in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        bench.graph.gate.set()
        await blocker
        assert (await waiting[0])[0].item() == 0.0
        assert (await waiting[2])[0].item() == 4.0

    together(test)
    assert bench.graph.first_numbers[1:] == [[0.0, 2.0]]  # and costs no row


@pytest.mark.hazard_row("batch-mates")
def test_caller_cancelled_while_its_batch_runs_strands_nobody(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        blocker.cancel()
        other = bench.ask(3.0)
        bench.graph.gate.set()
        assert (await other)[0].item() == 6.0

    together(test)


@pytest.mark.hazard_row("batch-mates")
def test_disconnected_caller_is_dropped_when_its_turn_comes(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        gone = [bench.ask(float(i), call=Call(is_disconnected=lambda: True)) for i in range(3)]
        stays = bench.ask(7.0)
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(blocker, stays)
        for each in gone:
            with pytest.raises(CallerDisconnected):
                await each

    together(test)
    assert bench.graph.first_numbers[1:] == [[7.0]]
    assert bench.observer.told.count(("dropped", "tiny@1", "fake.onnx", "left", 1)) == 3


def test_past_its_deadline_a_request_is_never_run(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        late = bench.ask(1.0, call=Call(deadline_s=bench.clock.now_s + 5.0))
        await asyncio.sleep(0)
        bench.clock.now_s += 5.0
        bench.graph.gate.set()
        await blocker
        with pytest.raises(DeadlineExceeded):
            await late

    together(test)
    assert len(bench.graph.first_numbers) == 1
    assert ("dropped", "tiny@1", "fake.onnx", "deadline", 1) in bench.observer.told


def test_nobody_waits_beyond_the_deadline_behind_a_run_that_never_ends(bench: Bench) -> None:
    async def test() -> None:
        await bench.block()
        late = bench.ask(1.0, call=Call(deadline_s=bench.clock.now_s))  # the gate stays shut
        with pytest.raises(DeadlineExceeded):
            await late

    together(test)


@pytest.mark.hazard_row("batch-mates")
def test_one_bad_request_in_a_batch_fails_alone(bench: Bench) -> None:
    async def test() -> None:
        bench.graph.poison = 2.0
        answers: list[Any] = await asyncio.gather(
            *(bench.ask(float(i)) for i in range(4)), return_exceptions=True
        )
        assert isinstance(answers[2], InferenceFailed)
        assert [a[0].item() for i, a in enumerate(answers) if i != 2] == [0.0, 2.0, 6.0]

    together(test)


def test_defect_of_ours_reaches_whoever_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: np.ndarray) -> tuple[np.ndarray, ...]:
        raise RuntimeError("defect")

    monkeypatch.setattr(bench.graph, "run", broken)

    async def test() -> None:
        for rows in (1, 64):  # on the event loop, and in a worker
            with pytest.raises(RuntimeError, match="defect"):
                await bench.ask(*range(rows))

    together(test)


def test_images_beyond_the_bound_are_refused_with_the_time_to_come_back() -> None:
    bench = Bench(max_waiting=30_000)

    async def test() -> None:
        blocker = await bench.block()
        accepted = [bench.ask(*[1.0] * 10_000) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooBusy) as refused:
            bench.ask(1.0)
        assert refused.value.retry_after_s == 3  # 30,000 rows of 100 µs on one worker
        with pytest.raises(TooBusy):
            bench.worker_pool.refuse_when_full()
        again = Call()
        again.is_admitted = True
        second_half = bench.ask(1.0, call=again)  # what was begun is not given up half way
        bench.graph.gate.set()
        await asyncio.gather(blocker, *accepted, second_half)
        bench.worker_pool.refuse_when_full()

    together(test)
    bench.worker_pool.close()


def test_request_larger_than_the_bound_is_taken_when_nothing_waits() -> None:
    bench = Bench(max_waiting=10)

    async def test() -> None:
        assert len((await bench.ask(*[1.0] * 50))[0]) == 50

    together(test)
    bench.worker_pool.close()


def test_closing_answers_everybody_and_ends_the_threads(bench: Bench) -> None:
    async def test() -> None:
        blocker = await bench.block()
        waiting = bench.ask(1.0)
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(bench.worker_pool.close))
        with pytest.raises(EngineStopped):
            await waiting
        bench.graph.gate.set()
        await closing
        await blocker
        with pytest.raises(EngineStopped):
            bench.ask(1.0)

    together(test)
    (worker,) = set(bench.graph.threads)
    assert not worker.is_alive()
    assert bench.worker_pool.waiting == 0


def test_queues_take_turns_on_one_worker() -> None:
    """A model with much to do must not keep another model's caller waiting for all of it."""
    bench = Bench()
    other = GraphQueue(bench.graph, bench.worker_pool, model="other@1", observer=bench.observer)  # type: ignore[arg-type]

    async def test() -> None:
        blocker = await bench.block()
        large = bench.ask(*[1.0] * 300)
        await asyncio.sleep(0)
        small = other.run(bench.rows(9.0), Call())
        await asyncio.sleep(0)
        bench.graph.gate.set()
        await asyncio.gather(blocker, large, small)

    together(test)
    assert bench.graph.first_numbers.index([9.0]) <= 2
    bench.worker_pool.close()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    row_us=st.sampled_from([10, 100, 2000]),
    workers=st.integers(1, 3),
)
def test_every_caller_gets_its_own_rows_whatever_the_interleaving(
    sizes: list[int], row_us: int, workers: int
) -> None:
    bench = Bench(count=workers, row_s=row_us * 1e-6, max_waiting=1 << 30)
    firsts = np.cumsum([0, *sizes[:-1]])

    async def caller(first: int, size: int, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        doubled, negated = await bench.ask(*range(first, first + size))
        np.testing.assert_array_equal(doubled[:, 0], 2.0 * np.arange(first, first + size))
        np.testing.assert_array_equal(negated[:, 0], -1.0 * np.arange(first, first + size))

    async def test() -> None:
        await asyncio.gather(
            *(caller(int(f), s, i % 3) for i, (f, s) in enumerate(zip(firsts, sizes, strict=True)))
        )

    together(test)
    assert sum(map(len, bench.graph.first_numbers)) == sum(sizes)
    assert bench.worker_pool.waiting == 0
    bench.worker_pool.close()
