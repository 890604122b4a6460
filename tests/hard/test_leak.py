"""Two hundred thousand requests of every kind, a fifth of them bad: the server is as large as before.

"Before" is after the first tenth of the same mix, when every path has been walked, every worker has run and
the allocator has its arenas; the connections that stay open are the client's, and gone when it is.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hazard_plugin import Hazard
from load_client import Plan, Request, get, measure, post
from process_facts import descriptors, resident_bytes, settled, threads
from server_process import serving
from tiny_models import publish_tiny

from model_store import ModelStore
from service.bench.client import NO_ANSWER

REQUESTS, WARM = 200_000, 20_000
ROUNDS = 4


def npy(*shape: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(1).random(shape, dtype=np.float32))
    return buffer.getvalue()


def as_json(name: str, *shape: int) -> bytes:
    return json.dumps({name: np.random.default_rng(2).random(shape).round(3).tolist()}).encode()


#: (request, weight, statuses it may have); weights are shares of 100.
GOOD = (
    (post("/encode", as_json("images", 1, 1, 6, 6)), 20, (200,)),
    (post("/decode", as_json("z", 1, 2)), 10, (200,)),
    (post("/reconstruct", as_json("images", 2, 1, 6, 6)), 8, (200,)),
    (post("/encode.npz?model=mnist@1", npy(16, 1, 6, 6), "application/x-npy"), 4, (200,)),
    (post("/score?importance_samples=8", npy(2, 1, 6, 6), "application/x-npy"), 2, (200,)),
    (post("/interpolate", as_json("z", 2, 2)), 1, (200,)),
    (get("/traverse.png?dims=0,1"), 1, (200,)),
    (get("/sample?n=2"), 10, (200,)),
    (get("/sample.png?n=4&seed=3"), 5, (200,)),
    (get("/sample.txt"), 4, (200,)),
    (get("/sample.npz?n=200"), 3, (200,)),
    (get("/livez"), 4, (200,)),
    (get("/models"), 4, (200,)),
    (get("/metrics"), 1, (200,)),
    (get("/openapi.json"), 1, (200,)),
    (b"HEAD /sample HTTP/1.1\r\nHost: localhost\r\n\r\n", 2, (200,)),
)
BAD = (
    (post("/encode", as_json("images", 1, 1, 5, 6)), 3, (422,)),
    (post("/encode", b'{"images": [[[[nan]]]]}'), 2, (400,)),
    (post("/sample", b'{"n": "many", "sead": 1}'), 2, (422,)),
    (post("/encode", b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png"), 2, (400,)),
    (get("/sample?model=nobody"), 2, (404,)),
    (get("/nowhere/at/all"), 2, (404,)),
    (post("/encode", b"<a/>", "application/xml"), 1, (415,)),
    (b"GET /livez HTTP/1.1\r\nno header\r\n\r\n", 2, (400,)),
)
CUT_SHORT = ((post("/encode", b" ", length=100_000_000), 1, (413,)),)
LEAVE = (
    (post("/encode", as_json("images", 1, 1, 6, 6), length=5_000), 1.5, (NO_ANSWER,)),
    (post("/encode", as_json("images", 1, 1, 6, 6)), 1.5, (NO_ANSWER,)),
)


@pytest.mark.hard
@pytest.mark.hazard_row("leak")
def test_200_000_mixed_requests_leave_memory_descriptors_and_threads_as_they_were(
    tmp_path: Path, hazard: Hazard
) -> None:
    assert sum(weight for _, weight, _ in (*GOOD, *BAD, *CUT_SHORT, *LEAVE)) == 100
    assert sum(weight for _, weight, _ in (*BAD, *CUT_SHORT, *LEAVE)) == 20
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="mnist", image_shape=(1, 6, 6), latent_size=2, aliases=("stable",))
    requests = [Request(data, weight) for data, weight, _ in (*GOOD, *BAD)]
    requests += [Request(data, weight, is_whole=False) for data, weight, _ in CUT_SHORT]
    requests += [Request(data, weight, expects_answer=False) for data, weight, _ in LEAVE]
    expected = [statuses for _, _, statuses in (*GOOD, *BAD, *CUT_SHORT, *LEAVE)]
    with serving(tmp_path / "models", tmp_path / "log") as running:
        pid, port = running.process.pid, running.port

        def facts() -> tuple[int, int, int]:
            """Memory, descriptors and threads once the client is gone."""
            settled(lambda: descriptors(pid), lambda count: count <= idle_descriptors, within_s=5.0)
            return resident_bytes(pid), descriptors(pid), threads(pid)

        idle_descriptors = descriptors(pid)
        # Every worker and every thread for large answers is started by as much at once as there ever is.
        burst = [Request(get("/sample.png?n=200")), Request(get("/sample?n=250"))]
        # More than may wait at once, so that some of it is refused.
        statuses = measure(Plan(port, burst, count=400)).statuses
        assert 200 in statuses
        assert set(statuses) <= {200, 429}
        measure(Plan(port, requests, count=WARM, seed=1))
        sizes, busy = [facts()], 0
        for round_number in range(ROUNDS):
            answers = measure(Plan(port, requests, count=REQUESTS // ROUNDS, seed=2 + round_number))
            sizes.append(facts())
            # Six of `n=200` at once are more than may wait, and then others are refused too.
            busy += answers.status.count(429)
            unexpected = [
                (requests[kind].data[:60], status)
                for kind, status in zip(answers.kind, answers.status, strict=True)
                if status not in expected[kind] and not (status == 429 and expected[kind] == (200,))
            ]
            assert unexpected == [], unexpected[:5]
        log = running.log
    growth = (sizes[-1][0] - sizes[0][0]) / 1e6
    steps = ", ".join(f"{(size[0] - sizes[0][0]) / 1e6:+.1f}" for size in sizes[1:])
    assert "Traceback" not in log
    assert busy < REQUESTS // 50
    told = (
        f"{REQUESTS:,} requests: RSS {growth:+.1f} MB ({steps} at each quarter); "
        f"descriptors {sizes[0][1]} → {sizes[-1][1]}, threads {sizes[0][2]} → {sizes[-1][2]}"
    )
    constant = sizes[0][1:] == sizes[-1][1:]
    hazard("leak", figure=told, bar="< +4 MB; constant", met=growth < 4.0 and constant)
