"""Requests of 4,096 images, one after the other, beside single images: the singles hardly notice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from load_client import Load, Plan, Request, get, measure, post
from process_facts import percentile
from server_process import serving

from model_store import default_store_root

pytestmark = [pytest.mark.hard, pytest.mark.hazard_row("large-beside-small")]

RATE_PER_S, ROUNDS, ROUND_S = 80.0, 3, 4.0
SINGLE = post("/encode", json.dumps({"images": np.zeros((1, 1, 28, 28)).tolist()}).encode())


def npy(count: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).random((count, 1, 28, 28), dtype=np.float32))
    return buffer.getvalue()


#: The large request, and what must be allowed for it beyond the defaults: long answers stream without.
LARGE = {
    "encode 4,096": (
        post("/encode.npz", npy(4096), "application/x-npy"),
        ("--max-images", "4096", "--max-body-bytes", str(16 * 2**20), "--max-queue-images", "8192"),
    ),
    "sample 4,096": (get("/sample.npy?n=4096&seed=1"), ()),
}


@pytest.mark.parametrize("kind", LARGE)
def test_singles_beside_4096_images_take_at_most_three_times_as_long(
    tmp_path: Path, kind: str, hazard: Hazard
) -> None:
    request, flags = LARGE[kind]
    with serving(default_store_root(), tmp_path / "log", *flags) as server:
        singles = Plan(server.port, [Request(SINGLE)], rate_per_s=RATE_PER_S, duration_s=ROUND_S)
        large = Plan(server.port, [Request(request)], connections=1, duration_s=ROUND_S + 1)
        measure(Plan(server.port, [Request(SINGLE)], connections=1, duration_s=1.0))
        alone_s: list[float] = []
        beside_s: list[float] = []
        many = 0
        for _ in range(ROUNDS):  # in turn, so that both meet the same machine
            alone_s += measure(singles).latencies(200)
            with Load(large) as load:
                beside_s += measure(singles).latencies(200)
                done = load.answers()
            assert set(done.statuses) == {200}
            many += done.statuses[200]
    assert min(len(alone_s), len(beside_s)) > 0.8 * RATE_PER_S * ROUNDS * ROUND_S
    before_s, with_s = percentile(alone_s, 0.99), percentile(beside_s, 0.99)
    told = (
        f"{kind}: p99 {1e3 * with_s:.1f} ms beside {many} of them, alone "
        f"{1e3 * before_s:.1f} ms: {with_s / before_s:.1f} ×"
    )
    hazard("large-beside-small", figure=told, bar="≤ 3 × alone", met=with_s <= 3 * before_s)
