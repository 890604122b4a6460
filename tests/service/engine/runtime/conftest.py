"""The queue of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from queue_bench import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.graph.gate.set()
    made.worker_pool.close()
