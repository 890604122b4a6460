"""The asyncio client: the same names and results, and what only asyncio has."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import httpx2
import numpy as np
import pytest
from patience import PATIENCE_S
from scripted_server import Say, ok, scripted_server
from server_process import Running, serving
from slow_models import publish_slow
from vae_client import (
    AsyncClient,
    Client,
    InvalidInput,
    Overloaded,
    Refused,
    Retry,
    TimedOut,
    VersionMismatch,
)

from model_store import ModelStore


def public(of: type) -> dict[str, object]:
    return {name: member for name, member in vars(of).items() if not name.startswith("_")}


def test_both_clients_have_the_same_names_parameters_and_docstrings() -> None:
    one, other = public(Client), public(AsyncClient)
    assert one.keys() == other.keys()
    for name, method in one.items():
        twin = other[name]
        assert inspect.getdoc(method) == inspect.getdoc(twin), name
        if inspect.isfunction(method):
            assert inspect.isfunction(twin)
            signature = str(inspect.signature(method)).replace("-> 'Client'", "-> 'AsyncClient'")
            assert signature.replace(
                "Generator[Samples, None, None]", "AsyncGenerator[Samples, None]"
            ) == str(inspect.signature(twin)), name
    constructors = [str(inspect.signature(each.__init__)) for each in (Client, AsyncClient)]
    assert constructors[0].replace("BaseTransport", "AsyncBaseTransport") == constructors[1]


def test_every_call_has_the_result_of_the_other_client(url: str, vae: Client) -> None:
    async def calls() -> None:
        async with AsyncClient(url, model="mnist@stable") as client:
            digits = await client.sample(n=3, seed=7, label=3)
            np.testing.assert_array_equal(digits.images, vae.sample(n=3, seed=7, label=3).images)
            mu, _ = await client.encode(digits)
            np.testing.assert_array_equal(mu, vae.encode(digits).mu)
            np.testing.assert_array_equal((await client.decode(mu)).images, vae.decode(mu).images)
            drawn = await client.reconstruct(digits, sample=True, seed=1)
            np.testing.assert_array_equal(drawn.z, vae.reconstruct(digits, sample=True, seed=1).z)
            way = await client.interpolate(digits[0], digits[1], steps=4)
            np.testing.assert_array_equal(way.z, vae.interpolate(digits[0], digits[1], steps=4).z)
            assert (await client.traverse(dims=0, steps=3)).images.shape == (3, 1, 28, 28)
            scores = await client.score(digits, seed=1)
            np.testing.assert_array_equal(scores.elbo, vae.score(digits, seed=1).elbo)
            assert (await client.nearest(mu, among=mu)).indices.tolist() == [[0], [1], [2]]
            assert await client.models() == vae.models()
            assert await client.limits() == vae.limits()
            bound = await client.pinned()
            assert (bound.model, client.model) == ("mnist@6", "mnist@stable")
            parts = [part async for part in client.sample_many(300, seed=7)]
            assert [part.first_row for part in parts] == [0, 256]
            other = AsyncClient(url, model="mnist-2d")
            with pytest.raises(VersionMismatch):
                await other.decode(mu)
            await other.close()

    asyncio.run(calls())


def test_many_tasks_share_connections(url: str, bundled: Running) -> None:
    async def calls() -> None:
        async with AsyncClient(url) as client:
            drawn = await asyncio.gather(*(client.sample(seed=seed) for seed in range(30)))
            assert [each.seed for each in drawn] == list(range(30))

    asyncio.run(calls())


def test_client_of_another_event_loop_is_refused_with_the_remedy(url: str) -> None:
    client = AsyncClient(url)

    async def first() -> None:
        await client.sample()
        await client.close()

    asyncio.run(first())
    with pytest.raises(InvalidInput, match="a client for each loop"):
        asyncio.run(client.sample())


def test_callers_wait_for_a_free_connection_without_a_limit() -> None:
    assert AsyncClient(timeout_s=3)._http.timeout == httpx2.Timeout(3, pool=None)


def test_one_connection_is_used_again() -> None:
    connections = []

    async def calls() -> None:
        limits = ok(b'{"limits": []}', headers="Content-Type: application/json\r\n")
        async with (
            scripted_server(lambda _: limits, connected=lambda: connections.append(1)) as address,
            AsyncClient(f"http://{address}") as client,
        ):
            for _ in range(5):
                assert await client.limits() == {}

    asyncio.run(calls())
    assert len(connections) == 1


def test_cancelled_call_ends_its_request_and_leaves_the_client_usable(tmp_path: Path) -> None:
    store = tmp_path / "models"
    publish_slow(ModelStore(store), products=150)

    async def calls(url: str) -> None:
        async with AsyncClient(url, timeout_s=PATIENCE_S) as client:
            images = np.zeros((64, 4, 4), np.float32)
            tasks = [asyncio.create_task(client.encode(images)) for _ in range(8)]
            done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(each, asyncio.CancelledError) for each in ended)
            assert {task.exception() for task in done} == {None}
            assert len(await client.encode(images[:1])) == 1

    with serving(store, tmp_path / "log", "--request-timeout-s", f"{PATIENCE_S:.0f}") as running:
        asyncio.run(calls(f"http://127.0.0.1:{running.port}"))


def test_failures_are_repeated_and_time_outs_are_not() -> None:
    answers: list[Say] = []

    async def calls() -> None:
        busy = b'{"code": "too-busy", "detail": "full."}'
        refused = ok(busy, status="429 Too Many Requests", headers="Retry-After: 0\r\n")
        limits = ok(b'{"limits": []}', headers="Content-Type: application/json\r\n")
        closed = Say(b"", close=True)
        async with scripted_server(lambda _: answers.pop(0)) as address:
            url, retry = f"http://{address}", Retry(tries=4, first_delay_s=0.0)
            async with AsyncClient(url, retry=retry) as client:
                answers[:] = [refused, closed, closed, limits]
                assert await client.limits() == {}
                answers[:] = [refused] * 4
                with pytest.raises(Overloaded, match="Sent 4 times"):
                    await client.limits()
            async with AsyncClient(url, retry=retry, timeout_s=0.05) as client:
                answers[:] = [Say(b"", after_s=PATIENCE_S)]
                with pytest.raises(TimedOut):
                    await client.limits()

    asyncio.run(calls())
    assert answers == []


def test_stream_that_is_left_early_ends_its_request(url: str) -> None:
    async def calls() -> None:
        async with AsyncClient(url) as client:
            parts = client.sample_many(2_000, seed=1)
            async for part in parts:
                assert len(part) == 256
                break
            await parts.aclose()
            with pytest.raises(Refused):
                await anext(client.sample_many(2_000, label="eleven"))
            assert len(await client.sample()) == 1

    asyncio.run(calls())


def test_transport_may_be_replaced() -> None:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"limits": []})

    async def calls() -> None:
        async with AsyncClient("http://server", transport=httpx2.MockTransport(answer)) as client:
            assert await client.limits() == {}

    asyncio.run(calls())
