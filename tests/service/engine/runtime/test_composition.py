"""Two graphs in one unit of work: outputs, batch sizes and estimates."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_learned import SCALE, SHIFT, TinyLearnedPrior

from service.engine.runtime.batch_invariance import BATCH_SIZES, ONE_BY_ONE, BatchInvariantGraph
from service.engine.runtime.composition import ComposedGraph, one_after_the_other, side_by_side
from service.engine.runtime.session import GraphSession

LATENT = 3
PRIOR = TinyLearnedPrior(LATENT)


def graphs(*, exact: bool) -> tuple[BatchInvariantGraph, BatchInvariantGraph]:
    entry, files = PRIOR.entry, PRIOR.files
    sampler = BatchInvariantGraph(GraphSession(files.sampler, entry.sampler, threads=1))
    density = BatchInvariantGraph(GraphSession(files.density, entry.density, threads=1))
    if exact:
        rows = np.random.default_rng(0).normal(size=(BATCH_SIZES[0], LATENT)).astype(np.float32)
        for graph in (sampler, density):
            graph.first_run(rows[:1])
            graph.allow_exact_batches(lambda count: rows[:count])
    return sampler, density


@pytest.fixture(autouse=True)
def every_row_is_quick(monkeypatch):
    monkeypatch.setattr("service.engine.runtime.batch_invariance._SLOW_ROW_S", np.inf)


@pytest.mark.parametrize("rows", [1, 5, 70])
def test_one_after_the_other_returns_the_last_outputs_first(rows):
    u = np.random.default_rng(1).normal(size=(rows, LATENT)).astype(np.float32)
    back, log_pz, z = ComposedGraph(*graphs(exact=True), one_after_the_other).run(u)
    np.testing.assert_allclose(z, SCALE * u + SHIFT, atol=1e-6)
    np.testing.assert_allclose(back, u, atol=1e-6)
    np.testing.assert_allclose(log_pz, PRIOR.density(z)[1], atol=1e-4)


def test_side_by_side_runs_both_on_the_same_rows():
    rows = np.random.default_rng(2).normal(size=(4, LATENT)).astype(np.float32)
    z, u, log_pz = ComposedGraph(*graphs(exact=True), side_by_side).run(rows)
    np.testing.assert_allclose(z, PRIOR.sample(rows), atol=1e-6)
    np.testing.assert_allclose(u, PRIOR.density(rows)[0], atol=1e-6)
    np.testing.assert_allclose(log_pz, PRIOR.density(rows)[1], atol=1e-4)


def test_a_graph_that_runs_row_by_row_slows_the_pair():
    exact, _ = graphs(exact=True)
    _, alone = graphs(exact=False)
    assert ComposedGraph(exact, alone, side_by_side).batch_sizes == ONE_BY_ONE
    assert ComposedGraph(exact, exact, side_by_side).batch_sizes == BATCH_SIZES


def test_time_is_that_of_both():
    first, second = graphs(exact=True)
    pair = ComposedGraph(first, second, side_by_side)
    assert pair.seconds(16) == pytest.approx(first.seconds(16) + second.seconds(16))
    assert pair.rows_within(1e9) % BATCH_SIZES[0] == 0
    assert pair.rows_within(0.0) == 1
    assert pair.file == "prior_sampler.onnx+prior_density.onnx"
