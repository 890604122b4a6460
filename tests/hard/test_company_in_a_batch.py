"""What a caller is answered does not depend on who else is in the batch: queues against plain calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from direct import directly, load
from engine_models import convolutional_decoder, golden_of
from hazard_plugin import Hazard
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore, default_store_root
from service.engine import LoadedModel, WorkerPool, decode, encode, interpolate, reconstruct, sample, score
from service.engine.observer import Unobserved

ROUNDS, CALLERS = 12, 24


class Company(Unobserved):
    """Counts the runs that several callers shared."""

    shared = 0

    def run(self, model: str, file: str, *, rows: int, jobs: int, wait_s: float, run_s: float) -> None:
        self.shared += jobs > 1


@pytest.fixture
def company() -> Company:
    return Company()


@pytest.fixture(params=["bundled", "linear", "convolutional"])
def model(request: pytest.FixtureRequest, tmp_path: Path, company: Company) -> Iterator[LoadedModel]:
    worker_pool = WorkerPool(2)
    store, name = ModelStore(tmp_path / "models"), "tiny"
    tiny = TinyModel.make(image_shape=(1, 6, 7), latent_size=5, seed=3)
    if request.param == "bundled":
        store, name = ModelStore(default_store_root()), "mnist"
    elif request.param == "linear":
        publish_tiny(store, model=tiny)
    else:
        decoder = convolutional_decoder()
        publish_tiny(store, model=tiny, decoder=decoder, golden=golden_of(tiny.golden(), decoder))
    yield load(store.open(name), worker_pool=worker_pool, observer=company)
    worker_pool.close()


@pytest.mark.hazard_row("batching-exact")
def test_batched_answers_are_those_of_each_request_alone(
    model: LoadedModel, company: Company, hazard: Hazard, request: pytest.FixtureRequest
) -> None:
    """Rounds of callers that come in random order and company; each compares with its own request, alone."""
    rng = random.Random(31)
    worst = 0.0
    same = seeded = 0

    async def caller(operation: str, size: int, seed: int, turns: int) -> None:
        nonlocal worst, same, seeded
        noise = np.random.default_rng(seed)
        for _ in range(turns):
            await asyncio.sleep(0)
        if operation == "sample":
            batched = (await sample(model.queued, n=size, seed=seed)).x_hat
            alone = directly(sample, model, n=size, seed=seed).x_hat
        elif operation == "encode":
            x = noise.random((size, *model.image_shape), dtype=np.float32)
            batched, alone = (await encode(model.queued, x)).mu, directly(encode, model, x).mu
        elif operation == "reconstruct":
            x = noise.random((size, *model.image_shape), dtype=np.float32)
            batched = (await reconstruct(model.queued, x, sample=True, seed=seed)).x_hat
            alone = directly(reconstruct, model, x, sample=True, seed=seed).x_hat
        elif operation == "score":
            x = noise.random((min(size, 17), *model.image_shape), dtype=np.float32)
            scores = await score(model.queued, x, seed=seed, importance_samples=5)
            single = directly(score, model, x, seed=seed, importance_samples=5)
            batched, alone = np.asarray(scores.log_px), np.asarray(single.log_px)
        elif operation == "interpolate":
            z = noise.standard_normal((2, model.latent_size), dtype=np.float32)
            batched = (await interpolate(model.queued, z=z, steps=size + 1)).x_hat
            alone = directly(interpolate, model, z=z, steps=size + 1).x_hat
        else:
            z = noise.standard_normal((size, model.latent_size), dtype=np.float32)
            batched, alone = await decode(model.queued, z), directly(decode, model, z)
        worst = max(worst, float(np.abs(batched - alone).max()))
        if operation in ("sample", "reconstruct", "score"):
            seeded += 1
            same += batched.tobytes() == alone.tobytes()

    async def one_round() -> None:
        await asyncio.gather(
            *(
                caller(
                    rng.choice(["sample", "encode", "reconstruct", "decode", "score", "interpolate"]),
                    rng.choice([1, 1, 1, 2, 5, 17, 33, 70]),
                    rng.randrange(2**53),
                    rng.randrange(4),
                )
                for _ in range(CALLERS)
            )
        )

    for _ in range(ROUNDS):
        asyncio.run(one_round())
    assert company.shared > ROUNDS, "hardly anyone shared a run"
    name = request.node.callspec.id
    told = f"{name}: {company.shared} shared runs, furthest {worst:.1e}; {same} of {seeded} seeded identical"
    hazard("batching-exact", figure=told, bar="≤ 1e-5; all identical", met=worst <= 1e-5 and same == seeded)
