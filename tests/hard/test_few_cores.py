"""A server that may use one core of several says so when it starts, and runs one worker thread."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from server_process import serving
from tiny_models import publish_tiny

from model_store import ModelStore

ONE_CORE = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"


@pytest.mark.hazard_row("cpu-quota")
def test_start_tells_how_many_threads_and_why(tmp_path: Path, hazard: Hazard) -> None:
    (tmp_path / "sitecustomize.py").write_text(ONE_CORE)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    publish_tiny(ModelStore(tmp_path / "models"), name="mnist")
    flags = ("--log-format", "json")
    with serving(tmp_path / "models", tmp_path / "log", *flags, environment={"PYTHONPATH": path}) as running:
        assert running.get("/sample")[0] == 200
        lines = [json.loads(line) for line in running.log.splitlines()]
    (start,) = (line for line in lines if line["event"] == "serving")
    told = f"affinity of 1: {start['threads']} thread, told at start: {start['why']!r}"
    hazard(
        "cpu-quota", figure=told, bar="1 thread, told at start", met=start["threads"] == 1 and start["why"]
    )
