"""Twenty cold starts of the bundled model: until the first /readyz that says yes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from process_facts import percentile
from server_process import serving

from model_store import default_store_root

STARTS = 20
#: As an installed package: otherwise a server with changed sources compiles them at each start, for 0.15 s.
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


@pytest.mark.hard
@pytest.mark.hazard_row("cold-start")
def test_nineteen_of_twenty_starts_are_ready_within_two_seconds(tmp_path: Path, hazard: Hazard) -> None:
    took_s = []
    for start in range(STARTS):
        begun = time.monotonic()
        with serving(default_store_root(), tmp_path / f"log-{start}", environment=_COMPILED) as running:
            while running.get("/readyz")[0] != 200:
                assert time.monotonic() - begun < 20, running.log
            took_s.append(time.monotonic() - begun)
            assert running.stop() == 0
    p95_s = percentile(took_s, 0.95)
    told = f"p95 {p95_s:.2f} s, fastest {min(took_s):.2f} s, of {STARTS}"
    hazard("cold-start", figure=told, bar="p95 of 20 ≤ 2 s", met=p95_s <= 2.0)
