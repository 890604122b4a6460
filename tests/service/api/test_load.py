"""What many callers, large answers and late ones meet at the HTTP edge: 429, 504, parts, nothing lost."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from patience import PATIENCE_S

from service.app import create_app
from service.engine.runtime.batch_invariance import BatchInvariantGraph
from service.http.connection import Connection
from service.settings import Settings


class Gate:
    """Holds every model run until it is opened, and counts the rows that ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.rows = 0
        original = BatchInvariantGraph.run

        def run(graph: BatchInvariantGraph, rows: np.ndarray) -> Any:
            self.rows += len(rows)
            self.entered.release()
            assert self.opened.wait(PATIENCE_S)
            return original(graph, rows)

        monkeypatch.setattr(BatchInvariantGraph, "run", run)
        # Nothing is quick: every run goes to a worker, where it can be held.
        monkeypatch.setattr("service.engine.runtime.batcher.INLINE_S", -1.0)

    def shut(self) -> None:
        """From now on runs wait; those before, the golden vectors among them, are forgotten."""
        self.opened.clear()
        self.entered = threading.Semaphore(0)
        self.rows = 0


def caller_of(store: Path, **settings: Any) -> Caller:
    return Caller(create_app(Settings(model_store=store, threads=1, **settings)))


@pytest.fixture
def opened_late(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    gate.opened.set()  # the golden vectors run through the same code
    yield gate
    gate.opened.set()


def zeros(count: int) -> bytes:
    return b'{"z": [' + b",".join([b"[0,0,0,0,0,0,0,0]"] * count) + b"]}"


async def post(api: Caller, path: str, body: bytes | AsyncIterator[bytes], **options: Any) -> Answer:
    return await api.acall("POST", path, body=body, headers={"content-type": "application/json"}, **options)


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=PATIENCE_S)


async def queued(api: Caller, images: int) -> None:
    """Waits until so many images wait for a run."""
    async with asyncio.timeout(PATIENCE_S):
        while api.app.state.app_state.worker_pool.waiting < images:  # noqa: ASYNC110  # its number is no event
            await asyncio.sleep(0.001)


def test_more_than_may_wait_is_refused_with_the_time_to_come_back(
    tiny_store: Path, opened_late: Gate
) -> None:
    with caller_of(tiny_store, max_queue_images=4) as api:
        opened_late.shut()

        async def test() -> tuple[list[Answer], list[Answer]]:
            running = asyncio.create_task(post(api, "/decode", zeros(1)))
            await entered(opened_late)
            waiting = [asyncio.create_task(post(api, "/decode", zeros(2))) for _ in range(2)]
            await queued(api, 4)
            refused = [await post(api, "/decode", zeros(1)), await post(api, "/encode", b"never read")]
            probes = [await api.acall("GET", path) for path in ("/livez", "/readyz", "/metrics")]
            assert [probe.status for probe in probes] == [200, 200, 200]
            opened_late.opened.set()
            return refused, await asyncio.gather(running, *waiting)

        refused, answered = api.run(test())
    assert [(a.status, a.code) for a in refused] == [(429, "too-busy")] * 2
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
    assert [a.status for a in answered] == [200, 200, 200]


def test_past_the_time_limit_the_answer_is_504_and_the_model_is_not_run(
    tiny_store: Path, opened_late: Gate
) -> None:
    with caller_of(tiny_store, request_timeout_s=1.0) as api:
        opened_late.shut()

        async def test() -> list[Answer]:
            running = asyncio.create_task(post(api, "/decode", zeros(1)))
            await entered(opened_late)
            late = await asyncio.gather(*(post(api, "/decode", zeros(1)) for _ in range(3)))
            opened_late.opened.set()
            return [await running, *late]

        answers = api.run(test())
    assert [(a.status, a.code) for a in answers] == [(504, "deadline-exceeded")] * 4
    assert opened_late.rows == 1


def test_a_score_past_its_time_limit_is_504_and_its_other_draws_are_not_run(
    tiny_store: Path, opened_late: Gate
) -> None:
    """Its deadline is one for all of its draws; each part having its own would let it run for ever."""
    with caller_of(tiny_store, request_timeout_s=3.0) as api:
        image = {"images": np.zeros((1, 28, 28)).tolist()}

        async def test() -> Answer:
            scoring = asyncio.create_task(
                post(api, "/score?importance_samples=16384", json.dumps(image).encode())
            )
            for _ in range(12):  # the encoder, and some of the draws
                await entered(opened_late)
            opened_late.opened.clear()
            answer = await scoring
            opened_late.opened.set()
            return answer

        opened_late.shut()
        opened_late.opened.set()
        answer = api.run(test())
    assert (answer.status, answer.code) == (504, "deadline-exceeded")
    assert 64 < opened_late.rows < 16_384


def test_callers_who_left_are_never_run(tiny_store: Path, opened_late: Gate) -> None:
    with caller_of(tiny_store) as api:
        opened_late.shut()

        async def test() -> None:
            running = asyncio.create_task(post(api, "/decode", zeros(1)))
            await entered(opened_late)
            connections = [Connection() for _ in range(5)]
            tasks = [
                asyncio.create_task(post(api, "/decode", zeros(3), extensions={"vae.connection": connection}))
                for connection in connections
            ]
            await queued(api, 15)
            for connection in connections:
                connection.gone = True
            opened_late.opened.set()
            await asyncio.gather(running, *tasks)

        api.run(test())
    assert opened_late.rows == 1


def test_bodies_of_all_requests_together_are_bounded(tiny_store: Path) -> None:
    with caller_of(tiny_store, max_body_bytes=4096, max_buffered_bytes=6000) as api:

        async def test() -> list[Answer]:
            holds = asyncio.Event()

            async def slowly() -> AsyncIterator[bytes]:
                yield b'{"z": '
                yield b" " * 4000
                yield b" "
                holds.set()  # asked for once the part before the last was taken
                await let_go.wait()
                yield b"[[0,0,0,0,0,0,0,0]]}"

            let_go = asyncio.Event()
            first = asyncio.create_task(post(api, "/decode", slowly()))
            await holds.wait()
            second = await post(api, "/decode", zeros(1) + b" " * 3000)
            let_go.set()
            return [await first, second, await post(api, "/decode", zeros(1) + b" " * 3000)]

        answers = api.run(test())
    assert [a.status for a in answers] == [200, 429, 200]


def test_long_answers_come_as_npy_and_hold_what_short_ones_hold(tiny_store: Path) -> None:
    with caller_of(tiny_store, max_images=64, max_stream_images=1000) as api:
        long = api.get("/sample.npy?n=777&seed=5")
        short = api.get("/sample.npy?n=64&seed=5")
        images, first = np.load(io.BytesIO(long.body)), np.load(io.BytesIO(short.body))
        assert (long.status, images.shape) == (200, (777, 1, 28, 28))
        assert int(long.headers["content-length"]) == len(long.body)
        assert (long.headers["x-seed"], long.headers["x-temperature"]) == ("5", "1")
        np.testing.assert_array_equal(images[:64], first)
        z = np.load(io.BytesIO(api.get("/sample.npz?n=64&seed=5").body))["z"]
        buffer = io.BytesIO()
        np.save(buffer, np.tile(z, (5, 1)))
        back = np.load(io.BytesIO(api.post("/decode.npy", buffer.getvalue(), "application/x-npy").body))
        np.testing.assert_array_equal(back, np.tile(first, (5, 1, 1, 1)))
        for path in ("/sample?n=65", "/sample.png?n=65", "/sample.npz?n=65", "/sample.npy?n=1001"):
            assert (api.get(path).status, api.get(path).code) == (422, "invalid-parameter")
        refused = api.post("/decode", buffer.getvalue(), "application/x-npy")
        assert refused.status == 422
        assert "npy" in refused.json()["detail"]


def test_long_answer_stops_when_its_reader_leaves(tiny_store: Path, opened_late: Gate) -> None:
    with caller_of(tiny_store, max_images=64) as api:
        opened_late.rows = 0
        connection = Connection()

        async def test() -> None:
            parts = 0

            def on_body() -> None:
                nonlocal parts
                parts += 1
                connection.gone = parts >= 3

            await api.acall(
                "GET", "/sample.npy?n=60000", extensions={"vae.connection": connection}, on_body=on_body
            )

        api.run(test())
    assert opened_late.rows < 1000


def test_what_waits_when_the_server_stops_is_told_so(tiny_store: Path, opened_late: Gate) -> None:
    with caller_of(tiny_store) as api:
        opened_late.shut()

        async def test() -> list[Answer]:
            running = asyncio.create_task(post(api, "/decode", zeros(1)))
            await entered(opened_late)
            waiting = asyncio.create_task(post(api, "/decode", zeros(1)))
            await queued(api, 1)
            closing = asyncio.create_task(asyncio.to_thread(api.app.state.app_state.worker_pool.close))
            answer = await waiting
            opened_late.opened.set()
            await closing
            return [await running, answer]

        answers = api.run(test())
    assert [(a.status, a.code) for a in answers] == [(200, None), (503, "shutting-down")]
