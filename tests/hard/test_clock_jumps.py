"""A wall clock that jumps by months between two readings: nothing is late, early or negative.

`sitecustomize` puts the clock into the server before anything of it is imported. The monotonic clock is left
alone, as it is by whoever sets the time of a machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from patience import PATIENCE_S
from server_process import Running, serving
from tiny_models import publish_tiny

from model_store import ModelStore

CLOCK = """
import itertools, time

_real, _real_ns = time.time, time.time_ns
_jumps_s = itertools.cycle((0, 10_000_000, -10_000_000, 86_400, -3_600, 300_000_000))
time.time = lambda: _real() + next(_jumps_s)
time.time_ns = lambda: _real_ns() + next(_jumps_s) * 1_000_000_000
"""
#: Of a request, longest; far longer than any takes here, far shorter than any jump.
SOON_MS = 5_000
TARGETS = ("/sample.json?seed=1", "/sample.png", "/readyz", "/livez", "/models", "/sample.txt?n=3")


@pytest.mark.hazard_row("clock-jumps")
def test_nothing_is_late_early_or_negative_under_a_clock_that_jumps(tmp_path: Path, hazard: Hazard) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist")
    flags = ("--shutdown-grace-s", "5", "--log-format", "json")
    store, log = tmp_path / "models", tmp_path / "log"
    with serving(store, log, *flags, environment={"PYTHONPATH": path}) as running:
        refused, timings_ms = ask(running, rounds=50)
        _, _, metrics = running.get("/metrics")
        begun = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=PATIENCE_S) == 0
        stopped_s = time.monotonic() - begun
    lines = [json.loads(line) for line in running.log.splitlines()]
    assert len({line["time"][:7] for line in lines}) > 3, "the clock did not jump"
    timings_ms += [line["ms"] for line in lines if "ms" in line]
    sums = [float(value) for value in re.findall(r"_sum(?:\{[^}]*\})? (\S+)", metrics.decode())]
    assert len(sums) > 3
    assert all(0 <= value < 1e9 for value in sums)
    assert not [line for line in lines if line["level"] in ("error", "warning")]
    asked = len(TARGETS) * 50
    told = (
        f"{asked} requests: {refused} refused, {min(timings_ms):.2f} to {max(timings_ms):.0f} ms; "
        f"stopped in {stopped_s:.1f} s"
    )
    in_time = all(0 <= value < SOON_MS for value in timings_ms)
    hazard(
        "clock-jumps",
        figure=told,
        bar="0 refused; every time between 0 and 5 s; stops in < 5 s",
        met=refused == 0 and in_time and stopped_s < 5,
    )


def ask(running: Running, *, rounds: int) -> tuple[int, list[float]]:
    """Requests refused, and every time that Server-Timing states."""
    refused, timings_ms = 0, []
    for _ in range(rounds):
        for target in TARGETS:
            status, headers, _ = running.get(target)
            refused += status != 200
            timings_ms += [float(value) for value in re.findall(r"dur=([-\d.e]+)", headers["server-timing"])]
    return refused, timings_ms
