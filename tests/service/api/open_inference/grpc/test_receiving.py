"""Messages that calls wait for: each has its time limit, and one timer serves all."""

from __future__ import annotations

import asyncio

import pytest
from clocks import Clock

from service.api.open_inference.grpc import receiving as receiving_module
from service.api.open_inference.grpc.receiving import Receiving

LIMIT_S = 0.05


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


async def at_once() -> bytes:
    return b"message"


def test_message_is_returned_and_its_call_is_not_watched_any_more() -> None:
    async def test() -> None:
        receiving = Receiving(LIMIT_S)
        assert await receiving.receive(at_once()) == b"message"
        await asyncio.sleep(2 * LIMIT_S)
        assert await receiving.receive(at_once()) == b"message"

    asyncio.run(test())


def test_each_call_has_the_whole_time_limit_though_one_timer_serves_all() -> None:
    async def test() -> None:
        receiving = Receiving(LIMIT_S)
        loop = asyncio.get_running_loop()

        async def waits_after(delay_s: float) -> float:
            await asyncio.sleep(delay_s)
            begun_s = loop.time()
            with pytest.raises(TimeoutError):
                await receiving.receive(never())
            return loop.time() - begun_s

        waits = await asyncio.gather(*(waits_after(part * LIMIT_S / 4) for part in range(8)))
        assert min(waits) >= LIMIT_S

    asyncio.run(test())


def test_cancelled_call_is_cancelled_and_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_module, "_SOON_S", 60.0)

    async def test() -> None:
        receiving = Receiving(60.0)
        task = asyncio.create_task(receiving.receive(never(), infers=True))
        await asyncio.sleep(0)
        assert receiving.more_follow()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not receiving.more_follow()

    asyncio.run(test())


def test_call_that_is_cancelled_when_it_is_late_is_cancelled() -> None:
    """The time limit does not hide that the call was cancelled. `asyncio.timeout` does the same."""

    async def test() -> None:
        receiving = Receiving(0.0)
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(receiving.receive(never(), infers=True))
        await asyncio.sleep(0)
        receiving._expire(loop)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(test())


def test_call_that_runs_no_model_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_module, "_SOON_S", 60.0)

    async def test() -> None:
        receiving = Receiving(60.0)
        task = asyncio.create_task(receiving.receive(never()))
        await asyncio.sleep(0)
        assert not receiving.more_follow()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(test())


def test_call_that_was_received_makes_no_other_wait_for_a_slow_one() -> None:
    """One client opens a call and sends nothing: the others do not wait for it, whenever theirs came."""
    clock = Clock()

    async def test() -> None:
        receiving = Receiving(60.0, clock)
        task = asyncio.create_task(receiving.receive(never(), infers=True))
        await asyncio.sleep(0)
        assert receiving.more_follow()
        clock.now_s += 1.0
        assert await receiving.receive(at_once(), infers=True) == b"message"
        assert not receiving.more_follow()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(test())


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_who_waits_for_a_call_is_told_once_when_it_is_received_or_gone(is_cancelled: bool) -> None:
    async def test() -> None:
        receiving = Receiving(60.0)
        told: list[int] = []
        receiving.when_received(lambda: told.append(1))
        await receiving.receive(at_once())
        await asyncio.sleep(0)
        assert not told
        task = asyncio.create_task(receiving.receive(never() if is_cancelled else at_once(), infers=True))
        await asyncio.sleep(0)
        if is_cancelled:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await receiving.receive(at_once(), infers=True)
        await asyncio.sleep(0)
        assert told == [1]

    asyncio.run(test())


def test_slow_client_is_not_about_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_module, "_SOON_S", 0.0)

    async def test() -> None:
        receiving = Receiving(60.0)
        task = asyncio.create_task(receiving.receive(never(), infers=True))
        await asyncio.sleep(0)
        assert not receiving.more_follow()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(test())
