"""The Open Inference Protocol of a server with several workers: any of them answers for all."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_calls import Tensor, json_request
from patience import PATIENCE_S, eventually
from server_process import Running, serving

ASKED = 12


@pytest.fixture(scope="module")
def workers(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("workers")
    with serving(tiny_store, home / "log", "--workers", "2", "--admin", "true") as running:
        yield running


def ask(running: Running, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
    """On a connection of its own, which any worker may accept."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_statistics_are_the_sums_of_all_workers(workers: Running) -> None:
    body = json_request(Tensor("x", np.zeros((2, 1, 28, 28), np.float32)), outputs=["mu"])
    for _ in range(ASKED):
        assert ask(workers, "POST", "/v2/models/mnist/infer", body)[0] == 200
    assert ask(workers, "POST", "/v2/models/mnist/infer", b"{}")[0] == 400

    def sums() -> tuple[int, int, int, int]:
        (found,) = ask(workers, "GET", "/v2/models/mnist/stats")[1]["model_stats"]
        stats = found["inference_stats"]
        counts = stats["success"]["count"], stats["fail"]["count"]
        return *counts, found["inference_count"], found["execution_count"]

    for _ in range(4):  # whichever worker answers
        eventually(lambda: sums() == (ASKED, 1, 2 * ASKED, ASKED), sums)


def test_unloaded_model_is_served_by_no_worker(workers: Running) -> None:
    def statuses() -> set[int]:
        return {ask(workers, "GET", "/v2/models/colour/ready")[0] for _ in range(8)}

    assert statuses() == {200}
    assert ask(workers, "POST", "/v2/repository/models/colour/unload")[0] == 200
    eventually(lambda: statuses() == {503}, statuses)
    assert ask(workers, "POST", "/v2/repository/models/colour/load")[0] == 200
    eventually(lambda: statuses() == {200}, statuses)
