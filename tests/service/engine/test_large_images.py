"""Versions with large images: loaded at the cost of a row, bounded by values, in parts of a few images."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from direct import load
from large_models import latent_size, publish_large

from model_store import ModelStore, PublishedModel
from service.engine import LoadedModel, ModelRejected, decode_in_parts
from service.engine.operations.parts import part_rows
from service.engine.runtime import batch_invariance
from service.engine.runtime.session import GraphSession

SIDE = 256


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PublishedModel]:
    def publish(**options: object) -> PublishedModel:
        store = ModelStore(tmp_path_factory.mktemp("store"))
        return store.open(publish_large(store, **options))  # type: ignore[arg-type]

    return publish


@pytest.fixture
def rows_run(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that ran, by graph; every graph counts as slow beyond doubt."""
    counted: Counter[str] = Counter()
    original = GraphSession.run

    def run(self: GraphSession, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        counted[self.file] += len(rows)
        return original(self, rows)

    monkeypatch.setattr(GraphSession, "run", run)
    monkeypatch.setattr(batch_invariance, "_SLOW_ROW_S", 0.0)
    monkeypatch.setattr(batch_invariance, "_SLOW_FIRST_RUN_S", 0.0)
    return counted


@pytest.mark.parametrize(("side", "examples", "most"), [(512, 3, 1), (256, 8, 5), (64, 8, 8)])
def test_loading_runs_the_golden_vectors_of_a_slow_graph_and_no_other_row(
    published: Callable[..., PublishedModel], rows_run: Counter[str], side: int, examples: int, most: int
) -> None:
    version = published(side=side, width=2, examples=examples)
    rows_run.clear()
    model = load(version)
    assert rows_run == {"encoder.onnx": most, "decoder.onnx": most}
    assert model.batch_sizes == {"encoder.onnx": (1,), "decoder.onnx": (1,)}


def test_the_one_golden_vector_of_a_slow_graph_is_compared(
    published: Callable[..., PublishedModel], rows_run: Counter[str]
) -> None:
    version = published(side=64, width=2)
    x_hat = version.golden.x_hat.copy()
    x_hat[0, 0, 0, 0] += 0.1
    with pytest.raises(ModelRejected, match="x_hat"):
        load(replace(version, golden=replace(version.golden, x_hat=x_hat)))


def test_calls_are_bounded_by_the_values_of_their_images(published: Callable[..., PublishedModel]) -> None:
    version = published(side=64, width=2)
    values = 3 * 64 * 64
    for most, rows in ((10 * values, 10), (10 * values - 1, 9), (1, 1), (1 << 30, 256)):
        assert load(version, max_batch=256, max_values=most).max_batch == rows


def test_a_latent_that_is_longer_than_its_image_is_what_counts(tmp_path: Path) -> None:
    from tiny_models import publish_tiny

    store = ModelStore(tmp_path)
    version = store.open(publish_tiny(store, image_shape=(1, 2, 2), latent_size=50))
    assert version.manifest.values_per_row == 50
    assert load(version, max_values=100).max_batch == 2


@pytest.mark.parametrize(("side", "rows"), [(64, 64), (256, 5), (512, 1)])
def test_a_part_of_a_long_response_has_few_large_images(
    published: Callable[..., PublishedModel], side: int, rows: int
) -> None:
    """64 images of 512 px are 201 MB."""
    model = load(published(side=side, width=2))
    assert part_rows(model.queued) == rows


def test_parts_are_the_images_of_a_whole_response(published: Callable[..., PublishedModel]) -> None:
    model: LoadedModel = load(published(side=SIDE, width=2))
    z = np.random.default_rng(0).standard_normal((12, latent_size(SIDE)), dtype=np.float32)

    async def images() -> list[np.ndarray]:
        return [part async for part in decode_in_parts(model.queued, z, max_images=12).images]

    try:
        parts = asyncio.run(images())
    finally:
        model.queued.run_decoder.__self__.worker_pool.close()  # type: ignore[attr-defined]
    assert list(map(len, parts)) == [5, 5, 2]
    (whole,) = model.decoder.run(z)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
