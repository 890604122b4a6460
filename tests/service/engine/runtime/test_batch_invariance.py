"""Runs of many rows: only in batch sizes that were seen to leave every bit as it is."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.runtime import batch_invariance
from service.engine.runtime.batch_invariance import BATCH_SIZES, ONE_BY_ONE, BatchInvariantGraph, chunks
from service.engine.runtime.session import GraphSession


class FakeSession:
    """Doubles its input; from `flawed_from` rows on, the last row comes out one bit different."""

    file = "fake.onnx"

    def __init__(self, flawed_from: int | None = None) -> None:
        self.flawed_from = flawed_from
        self.sizes: list[int] = []

    def run(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.sizes.append(len(x))
        doubled = x * np.float32(2)
        if self.flawed_from is not None and len(x) >= self.flawed_from:
            doubled[-1] = np.nextafter(doubled[-1], np.float32(np.inf))
        return doubled, -x


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3), dtype=np.float32)


def graph(session: FakeSession) -> BatchInvariantGraph:
    made = BatchInvariantGraph(cast(GraphSession, session))
    made.first_run(inputs(1))
    made.allow_exact_batches(inputs)
    session.sizes.clear()
    return made


def test_a_session_without_flaw_runs_in_the_largest_sizes():
    session = FakeSession()
    doubled, negated = graph(session).run(inputs(109))
    assert session.sizes == [64, 16, 16, 13]
    np.testing.assert_array_equal(doubled, inputs(109) * 2)
    np.testing.assert_array_equal(negated, -inputs(109))


@pytest.mark.parametrize("flawed_from", [2, 3, 4, 8, 9, 16, 17, 64])
def test_one_bit_in_one_row_of_one_size_is_enough_to_run_row_by_row(flawed_from):
    session = FakeSession(flawed_from)
    doubled, _ = graph(session).run(inputs(45))
    assert session.sizes == [1] * 45
    np.testing.assert_array_equal(doubled, inputs(45) * 2)


def test_only_sizes_that_were_compared_are_ever_run():
    session = FakeSession(flawed_from=65)
    checked = graph(session)
    for count in range(1, 150):
        checked.run(inputs(count))
    assert set(session.sizes) == set(BATCH_SIZES)


def test_before_the_comparison_rows_run_alone():
    session = FakeSession()
    BatchInvariantGraph(cast(GraphSession, session)).run(inputs(5))
    assert session.sizes == [1] * 5


def test_a_slow_graph_is_not_compared(monkeypatch):
    monkeypatch.setattr(batch_invariance, "_SLOW_ROW_S", -1.0)
    assert graph(FakeSession()).batch_sizes == ONE_BY_ONE


def test_a_graph_that_is_slow_beyond_doubt_runs_one_row_and_no_row_is_drawn(monkeypatch):
    """64 probe rows of 512 × 512 pixels took 2.8 GB of memory and 15 s of a processor."""
    monkeypatch.setattr(batch_invariance, "_SLOW_ROW_S", -1.0)
    monkeypatch.setattr(batch_invariance, "_SLOW_FIRST_RUN_S", -1.0)
    session = FakeSession()
    made = BatchInvariantGraph(cast(GraphSession, session))
    doubled, _ = made.first_run(inputs(1))
    np.testing.assert_array_equal(doubled, inputs(1) * 2)

    def never(count: int) -> np.ndarray:
        raise AssertionError(f"{count} rows were drawn")

    assert not made.allow_exact_batches(never)
    assert session.sizes == [1]


def test_a_graph_is_long_by_the_time_of_its_rows(monkeypatch):
    assert not graph(FakeSession()).is_long
    monkeypatch.setattr(batch_invariance, "LONG_RUN_S", -1.0)
    assert graph(FakeSession()).is_long


@given(count=st.integers(0, 400))
def test_chunks_cover_every_row_once_in_allowed_sizes(count):
    for sizes in (BATCH_SIZES, ONE_BY_ONE):
        covered = [row for start, size in chunks(count, sizes) for row in range(start, start + size)]
        assert covered == list(range(count))
        assert all(size in sizes for _, size in chunks(count, sizes))
