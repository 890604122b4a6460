"""Each tile is a run of its own: few at a time, none for a caller that left, and a bad one fails all."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.engine.errors import DeadlineExceeded, InferenceFailed, InvalidInput
from service.engine.operations.decode_tiled import Tiles, decode_tiled
from service.engine.operations.tile_grid import least_work
from service.engine.runtime.call import Call

FACTOR = 2
SHAPE = (1, 30, 23)


class Decoder:
    """A run that waits until it is told to answer: each latent becomes 2 × 2 pixels of its value."""

    def __init__(self, *, at_once: int = 2, is_exact: bool = True) -> None:
        grid = least_work(SHAPE[1:], halo=2, step=1, most_area=120, least_side=1, most_side=30)
        assert grid is not None
        self.grid = grid
        self.futures: list[asyncio.Future[Any]] = []
        self.asked: list[np.ndarray] = []
        self.came = asyncio.Semaphore(0)
        self.most_open = 0
        self.left_s = math.inf
        model = SimpleNamespace(
            label="m@1",
            decoder_file="decoder.onnx",
            run_decoder=self.run,
            check_decoding_time=self.check_time,
        )
        self.tiles = Tiles(
            cast(Any, model),
            grid,
            latent_shape=SHAPE,
            image_shape=(1, SHAPE[1] * FACTOR, SHAPE[2] * FACTOR),
            at_once=at_once,
            is_exact=is_exact,
        )

    def run(self, rows: np.ndarray, call: Call) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        self.asked.append(rows)
        self.came.release()
        self.most_open = max(self.most_open, sum(not each.done() for each in self.futures))
        return future

    def check_time(self, rows: int, call: Call) -> None:
        if rows > self.left_s:
            raise DeadlineExceeded

    def answer(self, at: int, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> None:
        small = self.asked[at].reshape(1, 1, self.grid.rows.window, self.grid.columns.window)
        big = small.repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)
        self.futures[at].set_result((change(big),))


def latents(rows: int = 1) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, math.prod(SHAPE))).astype(np.float32)


def whole(z: np.ndarray) -> np.ndarray:
    return z.reshape(len(z), *SHAPE).repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("at_once", [1, 3])
def test_cores_make_up_the_image_with_few_runs_at_a_time(at_once: int, *, is_exact: bool) -> None:
    """Blended ones too, if neighbours agree: weights are 1 in sum."""

    async def run() -> None:
        decoder, z = Decoder(at_once=at_once, is_exact=is_exact), latents(2)
        task = asyncio.create_task(decode_tiled(decoder.tiles, z, max_batch=2))
        for at in range(2 * decoder.grid.count):
            await decoder.came.acquire()
            decoder.answer(at)
        np.testing.assert_allclose(await task, whole(z), atol=0.0 if is_exact else 1e-6)
        assert decoder.most_open == at_once

    asyncio.run(run())


def test_a_caller_that_leaves_gets_no_further_tile() -> None:
    async def run() -> None:
        decoder = Decoder(at_once=2)
        task = asyncio.create_task(decode_tiled(decoder.tiles, latents(), max_batch=1))
        await decoder.came.acquire()
        await decoder.came.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(decoder.futures) == 2
        assert all(each.cancelled() for each in decoder.futures)

    asyncio.run(run())


def test_a_tile_that_is_not_finite_fails_the_image() -> None:
    async def run() -> None:
        decoder = Decoder(at_once=1)
        task = asyncio.create_task(decode_tiled(decoder.tiles, latents(), max_batch=1))
        await decoder.came.acquire()
        decoder.answer(0, lambda big: big * np.float32(np.nan))
        with pytest.raises(InferenceFailed, match=r"decoder\.onnx"):
            await task
        assert len(decoder.futures) == 1

    asyncio.run(run())


def test_tiles_that_cannot_be_done_in_time_and_bad_latents_are_refused_before_a_run() -> None:
    async def run() -> None:
        decoder = Decoder()
        decoder.left_s = decoder.grid.count - 1
        with pytest.raises(DeadlineExceeded):
            await decode_tiled(decoder.tiles, latents(), max_batch=1)
        decoder.left_s = math.inf
        z = latents()
        z[0, 5] = np.inf
        for bad, most in ((z, 1), (latents(2), 1), (latents()[:, 1:], 1)):
            with pytest.raises(InvalidInput):
                await decode_tiled(decoder.tiles, bad, max_batch=most)
        assert decoder.futures == []

    asyncio.run(run())
