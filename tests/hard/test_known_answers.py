"""Clients and caches that have an answer: cheap for the server, and nginx's cache does without it.

Rates are taken in turn, round by round, and only their ratios count.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparison.caching import Rates, conditional, rates
from hazard_plugin import Hazard
from load_client import Load, Plan, Request, get, measure, post
from nginx import needs_nginx, nginx
from server_process import serving
from slow_models import publish_slow

from model_store import ModelStore

pytestmark = pytest.mark.hard

BUNDLED = Path(__file__).resolve().parents[2] / "model_store/models"
CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy/nginx/cache.conf"
PICTURE = "/sample.png?n=16&seed=7&model=mnist@5"
DOCUMENT = "/sample?seed=7&model=mnist@5"
TRAVERSAL = "/traverse.png?dims=0,1&model=mnist@5"
ROUNDS, WINDOW_S = 5, 1.5


def told(found: Rates, kind: str, to: str) -> str:
    return f"{kind}: {found.median(kind):,.0f} requests/s, {found.ratio(kind, to):.2f} × {to}"


@pytest.mark.hazard_row("known-answers")
def test_304_is_as_fast_as_a_probe(tmp_path: Path, hazard: Hazard) -> None:
    with serving(BUNDLED, tmp_path / "log", "--threads", "1", "--access-log", "false") as running:
        port = running.port
        kinds = {"/livez": (port, get("/livez"), 200)}
        for target in (PICTURE, DOCUMENT, TRAVERSAL):
            kinds[f"304 of {target.partition('?')[0]}"] = (port, conditional(port, target), 304)
        found = rates(kinds, rounds=ROUNDS, window_s=WINDOW_S)
        for kind in list(kinds)[1:]:
            hazard(
                "known-answers",
                figure=told(found, kind, "/livez"),
                bar="≥ 0.8 × /livez",
                met=found.ratio(kind, "/livez") >= 0.8,
            )
        assert running.stop() == 0


@pytest.mark.hazard_row("known-answers")
def test_304_while_the_queue_is_full(tmp_path: Path, hazard: Hazard) -> None:
    """The bound of the queue is for work; a client that has its answer asks for none."""
    publish_slow(ModelStore(tmp_path / "models"), products=150)
    encode = post("/encode", json.dumps({"images": np.zeros((1, 1, 4, 4)).tolist()}).encode())
    flags = ("--threads", "1", "--max-queue-images", "8", "--access-log", "false")
    with serving(tmp_path / "models", tmp_path / "log", *flags) as running:
        known = conditional(running.port, "/traverse?steps=2")
        flood = Plan(running.port, [Request(encode)], connections=64, duration_s=6.0)
        with Load(flood) as load:
            answers = measure(
                Plan(running.port, [Request(known), Request(get("/traverse?steps=2"))], 2, duration_s=4.0)
            )
            flooded = load.answers()
        refused = {kind for kind, status in zip(answers.kind, answers.status, strict=True) if status == 429}
        statuses = {status for kind, status in zip(answers.kind, answers.status, strict=True) if kind == 0}
        assert flooded.statuses[429] > 0
        hazard(
            "known-answers",
            figure=f"{answers.kind.count(0):,} × {statuses}, others refused: {1 in refused}",
            bar="only 304",
            met=statuses == {304} and 1 in refused,
        )
        assert running.stop() == 0


@needs_nginx
@pytest.mark.hazard_row("known-answers")
def test_cache_of_nginx_is_ten_times_as_fast_and_needs_no_server(tmp_path: Path, hazard: Hazard) -> None:
    text = CONFIGURATION.read_text().replace("/var/cache/nginx/vae", str(tmp_path / "cache"))
    with serving(BUNDLED, tmp_path / "log", "--threads", "1", "--access-log", "false") as running:
        location = f"location / {{ proxy_pass http://127.0.0.1:{running.port}; }}"
        with nginx(tmp_path, location, http=text) as public:
            cache = int(public.rpartition(":")[2])
            kinds = {
                "server": (running.port, get(PICTURE), 200),
                "cache": (cache, get(PICTURE), 200),
            }
            found = rates(kinds, rounds=ROUNDS, window_s=WINDOW_S)
            hazard(
                "known-answers",
                figure=told(found, "cache", "server"),
                bar="≥ 10 × the server's",
                met=found.ratio("cache", "server") >= 10,
            )
            running.process.kill()
            running.process.wait()
            alone = measure(Plan(cache, [Request(get(PICTURE))], connections=8, count=20_000))
            hazard(
                "known-answers",
                figure=f"without a server: {dict(alone.statuses)}",
                bar="20,000 × 200",
                met=alone.statuses == {200: 20_000},
            )
