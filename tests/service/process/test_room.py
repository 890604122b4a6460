"""A bounded amount that calls hold at the same time: first come, first served, and never lost."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from patience import PATIENCE_S

from service.thread_pool import Room


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test as a function without a loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    del run.__wrapped__  # pytest would take it for a coroutine
    return run


def soon() -> float:
    return time.monotonic() + PATIENCE_S


@in_a_loop
async def test_what_fits_is_held_together_and_the_rest_waits_for_its_turn() -> None:
    room, order = Room(10), []
    release = {name: asyncio.Event() for name in "abcd"}

    async def call(name: str, amount: int) -> None:
        async with room.hold(amount, deadline_s=soon()):
            order.append(name)
            assert room.held <= room.most
            await release[name].wait()

    async with asyncio.TaskGroup() as group:
        for name, amount in (("a", 6), ("b", 4), ("c", 10), ("d", 1)):
            group.create_task(call(name, amount))
            await asyncio.sleep(0)
        assert order == ["a", "b"], "d would fit sooner than c, and comes later"
        release["a"].set()
        await asyncio.sleep(0)
        assert room.held == 4
        release["b"].set()
        for name in "cd":
            release[name].set()
    assert order == ["a", "b", "c", "d"]
    assert room.held == 0


@in_a_loop
async def test_more_than_there_is_is_held_alone() -> None:
    room = Room(10)
    async with room.hold(99, deadline_s=soon()):
        assert room.held == 10
    assert room.held == 0


@in_a_loop
async def test_wait_ends_at_the_deadline_and_gives_nothing_away() -> None:
    room = Room(10)
    async with room.hold(8, deadline_s=soon()):
        with pytest.raises(TimeoutError):
            async with room.hold(5, deadline_s=time.monotonic()):
                pytest.fail("it does not fit")
        async with room.hold(2, deadline_s=soon()):
            assert room.held == 10
    assert room.held == 0


@in_a_loop
async def test_cancelled_wait_lets_the_next_one_in() -> None:
    room = Room(10)
    entered = asyncio.Event()

    async def wait(amount: int) -> None:
        async with room.hold(amount, deadline_s=soon()):
            entered.set()

    async with room.hold(4, deadline_s=soon()):
        large = asyncio.create_task(wait(9))
        await asyncio.sleep(0)
        small = asyncio.create_task(wait(5))
        await asyncio.sleep(0)
        assert not entered.is_set()
        large.cancel()
        await asyncio.wait([large])
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        await small
    assert room.held == 0


@in_a_loop
async def test_call_that_is_cancelled_in_the_moment_of_its_turn_gives_it_back() -> None:
    room = Room(10)

    async def wait() -> None:
        async with room.hold(10, deadline_s=soon()):
            pytest.fail("it was cancelled")

    async with room.hold(10, deadline_s=soon()):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    waiting.cancel()  # its turn has come, and it has not run since
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert room.held == 0
