"""Four times the work that fits: what is accepted is served in time, the rest is told so at once.

The model takes some 7 ms for an image on the one worker thread it has; so capacity is known, and on two cores
the event loop and the client have the other one. Client and server are processes of their own, and the
client's rate does not depend on the answers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hazard_plugin import Hazard
from load_client import Load, Plan, Request, measure, post
from process_facts import percentile
from server_process import Running, serving
from slow_models import publish_slow

from model_store import ModelStore

pytestmark = pytest.mark.hard

BOUND_IMAGES = 64
OVERLOAD_S = 10.0
#: A pause of the whole machine delays far more than 1 % of the requests: such a round is repeated.
ROUNDS = 3
ENCODE = post("/encode", json.dumps({"images": np.zeros((1, 1, 4, 4)).tolist()}).encode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("overload")
    publish_slow(ModelStore(home / "models"), products=150)
    flags = ("--threads", "1", "--max-queue-images", str(BOUND_IMAGES))
    with serving(home / "models", home / "log", *flags) as running:
        yield running


class Probes:
    """/livez and /readyz in turn, each on a new connection, 40 a second, for as long as the block lasts."""

    def __init__(self, running: Running) -> None:
        self.took_s: list[float] = []
        self.failed = 0
        self._running = running
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> Probes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _probe(self) -> None:
        target = "/livez"
        while not self._over.wait(0.025):
            begun = time.perf_counter()
            status, _, _ = self._running.get(target)
            self.took_s.append(time.perf_counter() - begun)
            self.failed += status != 200
            target = "/readyz" if target == "/livez" else "/livez"


@pytest.mark.hazard_row("overload")
@pytest.mark.hazard_row("health-under-load")
def test_four_times_the_capacity_is_served_at_capacity_and_the_rest_is_shed_at_once(
    server: Running, hazard: Hazard
) -> None:
    one = [Request(ENCODE)]
    alone = measure(Plan(server.port, one, connections=1, duration_s=2.0))
    for rounds in range(1, ROUNDS + 1):  # noqa: B007 - the count is told
        full = measure(Plan(server.port, one, connections=16, duration_s=5.0))
        assert set(full.statuses) == {200}
        capacity_per_s = full.statuses[200] / full.took_s
        bar_s = 1.5 * BOUND_IMAGES / capacity_per_s
        with Probes(server) as probes:
            offered = Plan(server.port, one, rate_per_s=4 * capacity_per_s, duration_s=OVERLOAD_S)
            load = measure(offered)
        p99_s = percentile(load.latencies(200), 0.99)
        if p99_s <= bar_s:
            break
    after = measure(Plan(server.port, one, connections=1, duration_s=3.0))

    assert set(load.statuses) <= {200, 429}, load.statuses
    assert load.statuses[429] > load.statuses[200], "the rate was too low to be an overload"
    assert max(load.due_s) > OVERLOAD_S - 1
    goodput = load.statuses[200] / load.took_s / capacity_per_s
    shed_s = percentile(load.latencies(429), 0.99)
    five = sum(count for status, count in load.statuses.items() if status >= 500 or status == 0)
    usual_s = 3 * percentile(alone.latency_s, 0.5)
    late = [
        due + took
        for due, took, status in zip(after.due_s, after.latency_s, after.status, strict=True)
        if status != 200 or (took > usual_s and due < 2.0)
    ]
    # What a busy machine delays now and then later on is not the overload's doing.
    drained_s = load.took_s - OVERLOAD_S
    recovered_s = drained_s + (late[0] if late else 0.0)
    hazard(
        "overload",
        figure=f"capacity {capacity_per_s:.0f}/s; goodput at 4 × {100 * goodput:.0f} % of it",
        bar="≥ 80 %",
        met=goodput >= 0.8,
    )
    hazard(
        "overload",
        figure=f"accepted p99 {1e3 * p99_s:.0f} ms; shed p99 {1e3 * shed_s:.1f} ms (round {rounds})",
        bar=f"≤ 1.5 × bound × service time = {1e3 * bar_s:.0f} ms; < 50 ms",
        met=p99_s <= bar_s and shed_s < 0.05,
    )
    hazard(
        "overload",
        figure=f"{load.statuses[429]:,} × 429, {five} × 5xx; recovered after {recovered_s:.2f} s",
        bar="0 × 5xx; ≤ 2 s",
        met=five == 0 and recovered_s <= 2.0,
    )
    probe_s = percentile(probes.took_s, 0.99)
    assert len(probes.took_s) > 100
    hazard(
        "health-under-load",
        figure=f"{len(probes.took_s)} probes: p99 {1e3 * probe_s:.1f} ms, {probes.failed} failed",
        bar="p99 < 100 ms, 0 failed",
        met=probe_s < 0.1 and probes.failed == 0,
    )


@pytest.mark.hazard_row("overload")
def test_refused_callers_are_told_when_to_come_back(server: Running, hazard: Hazard) -> None:
    """Whoever waits as long as Retry-After says, after the load has ended, is served."""
    with Load(Plan(server.port, [Request(ENCODE)], connections=2 * BOUND_IMAGES, duration_s=3.0)):
        waits_s, deadline = [], time.monotonic() + 2.5
        while not waits_s and time.monotonic() < deadline:
            status, headers, body = server.get("/encode", method="POST")
            if status == 429:
                assert json.loads(body)["code"] == "too-busy"
                waits_s.append(int(headers["retry-after"]))
    assert waits_s
    hazard("overload", figure=f"Retry-After {waits_s[0]} s", bar="1 … 60 s", met=1 <= waits_s[0] <= 60)
