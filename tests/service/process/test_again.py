"""A loop of SIGHUPs is one run and one more, not a thread for each."""

from __future__ import annotations

import asyncio

from service.process.again import Again


def test_of_many_calls_during_a_run_one_more_run_follows() -> None:
    async def test() -> None:
        begun = asyncio.Semaphore(0)
        gate = asyncio.Semaphore(0)
        runs: list[int] = []

        async def work() -> None:
            runs.append(len(runs))
            begun.release()
            await gate.acquire()

        again = Again(work)
        again.ask()
        await begun.acquire()
        for _ in range(200):
            again.ask()
        gate.release()
        await begun.acquire()
        gate.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert runs == [0, 1]
        again.ask()
        await begun.acquire()
        gate.release()
        assert runs == [0, 1, 2]
        await asyncio.sleep(0)

    asyncio.run(test())
