"""Requests of 4,096 images, one after the other, beside single images: the singles hardly notice."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hazard_plugin import Hazard
from load_client import Load, Plan, Request, get, measure, post
from process_facts import percentile
from server_process import Running, serving

from model_store import default_store_root

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("large-beside-small")]

RATE_PER_S, DURATION_S = 60.0, 8.0
SINGLE = post("/encode", json.dumps({"images": np.zeros((1, 1, 28, 28)).tolist()}).encode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As it is by default, but for the size of one request."""
    home = tmp_path_factory.mktemp("large")
    flags = ("--max-images", "4096", "--max-body-bytes", str(16 * 2**20), "--max-queue-images", "8192")
    with serving(default_store_root(), home / "log", *flags) as running:
        yield running


def npy(count: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).random((count, 1, 28, 28), dtype=np.float32))
    return buffer.getvalue()


LARGE = {
    "encode 4,096": post("/encode.npz", npy(4096), "application/x-npy"),
    "sample 4,096": get("/sample.npy?n=4096&seed=1"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_singles_beside_4096_images_take_at_most_three_times_as_long(
    server: Running, kind: str, hazard: Hazard
) -> None:
    singles = Plan(server.port, [Request(SINGLE)], rate_per_s=RATE_PER_S, duration_s=DURATION_S)
    measure(singles)
    alone = measure(singles)
    large = Plan(server.port, [Request(LARGE[kind])], connections=1, duration_s=DURATION_S + 1)
    with Load(large) as load:
        beside = measure(singles)
        done = load.answers()
    assert set(alone.statuses) == set(beside.statuses) == {200}
    assert set(done.statuses) == {200}
    before_s, with_s = percentile(alone.latency_s, 0.99), percentile(beside.latency_s, 0.99)
    told = (
        f"{kind}: p99 {1e3 * with_s:.1f} ms beside {done.statuses[200]} of them, alone "
        f"{1e3 * before_s:.1f} ms: {with_s / before_s:.1f} ×"
    )
    hazard("large-beside-small", figure=told, bar="≤ 3 × alone", met=with_s <= 3 * before_s)
