"""Rows wait for calls that their transport is about to deliver, and for nothing else."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

import pytest
from patience import PATIENCE_S
from queue_bench import Bench, together

from service.engine.errors import EngineStopped
from service.engine.runtime import batcher, gathering
from service.engine.runtime.batch_invariance import FULL
from service.engine.runtime.call import Call


class Company:
    """A transport that delivers one call in each turn, `left` of them."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.told: list[Callable[[], object]] = []

    def more_follow(self) -> bool:
        return self.left > 0

    def when_received(self, callback: Callable[[], object]) -> None:
        self.told.append(callback)

    def received(self) -> None:
        self.left -= 1
        told, self.told = self.told, []
        for callback in told:
            asyncio.get_running_loop().call_soon(callback)


async def turns() -> None:
    """More turns than a call needs to begin."""
    for _ in range(8):
        await asyncio.sleep(0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait for others as long as it takes."""
    monkeypatch.setattr(gathering, "GATHER_S", 10 * PATIENCE_S)


@pytest.mark.usefixtures("patient")
def test_calls_that_are_delivered_one_by_one_share_a_run(bench: Bench) -> None:
    company = Company(5)

    async def test() -> None:
        answers = []
        while company.left:
            company.received()
            answers.append(bench.ask(float(company.left), call=Call(company=company)))
            await turns()
        assert [(await answer)[0].item() for answer in answers] == [8.0, 6.0, 4.0, 2.0, 0.0]

    together(test)
    assert bench.graph.first_numbers == [[4.0, 3.0, 2.0, 1.0, 0.0]]


def test_rows_wait_for_a_call_that_does_not_come_only_for_a_moment(bench: Bench) -> None:
    together(lambda: bench.ask(1.0, call=Call(company=Company(1))))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("is_slow", [False, True])
def test_rows_wait_no_longer_when_the_call_that_follows_goes_elsewhere_or_is_slow(
    bench: Bench, is_slow: bool
) -> None:
    company = Company(1)

    async def test() -> None:
        answer = bench.ask(1.0, call=Call(company=company))
        await turns()
        assert not answer.done()
        if is_slow:
            company.left = 0  # nobody is told: its message does not come
        else:
            company.received()
        await answer

    together(test)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "reason", ["enough rows", "long run", "short deadline", "a call of HTTP", "each row runs alone"]
)
def test_rows_do_not_wait_for_others_if(bench: Bench, reason: str) -> None:
    company = Company(99)
    call = Call(company=company, deadline_s=100.002 if reason == "short deadline" else 1e9)
    if reason == "long run":
        bench.graph.row_s = batcher.INLINE_S
    if reason == "each row runs alone":
        bench.graph.batch_sizes = (1,)

    async def test() -> None:
        calls = [call] * (FULL if reason == "enough rows" else 1)
        if reason == "a call of HTTP":
            calls.append(Call())
        await asyncio.gather(*(bench.ask(1.0, call=each) for each in calls))

    together(test)


def test_rows_that_arrived_before_the_end_are_answered(bench: Bench) -> None:
    """They wait for others when the pool closes, and are too many for the event loop."""

    async def test() -> None:
        bench.graph.row_s = batcher.INLINE_S
        waiting = bench.ask(*[1.0] * 3, call=Call(company=Company(1)))
        bench.worker_pool.close()  # before the end of the turn
        with pytest.raises(EngineStopped):
            await waiting

    together(test)


def test_queue_that_has_waited_for_others_is_freed_at_once(bench: Bench) -> None:
    """A retired model leaves memory without a collection of garbage."""
    company = Company(1)
    together(lambda: bench.ask(1.0, call=Call(company=company)))
    assert company.told
    queue = weakref.ref(bench.queue)
    del bench.queue
    assert queue() is None
