"""What `make` runs: its variables come from its command line, and from nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
TAKEN = {
    "PYTHON": "python2",
    "HOST": "x86_64-conda-linux-gnu",
    "PORT": "tcp://10.0.0.1:80",
    "ARGS": "--nonsense",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def planned(*arguments: str, **environment: str) -> str:
    """The commands of a target, without running them."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "target",
    [
        "serve",
        "test",
        "test-page",
        "test-hard",
        "bench",
        "bench-page",
        "bench-others",
        "client-tools",
        "docs",
        "lock",
    ],
)
def test_environment_of_other_tools_changes_no_target(target: str) -> None:
    """conda sets HOST, and `make serve` then listened on x86_64-conda-linux-gnu."""
    ours = dict.fromkeys(TAKEN, "")
    assert planned(target, **TAKEN) == planned(target, **ours)


def test_command_line_sets_them() -> None:
    commands = planned("serve", "PYTHON=python3.12", "HOST=0.0.0.0", "PORT=9000", "ARGS=--workers 2")
    assert "vae-serve run --host 0.0.0.0 --port 9000 --workers 2" in commands
    assert "python3.12 -m venv" in commands
    assert "vae-serve run --host 127.0.0.1 --port 8000" in planned("serve")


def test_every_variable_has_a_value_of_its_own() -> None:
    """One that is only used, or set by `?=`, comes from the environment."""
    used = set(re.findall(r"\$\(([A-Z_]+)[):]", MAKEFILE))
    assigned = set(re.findall(r"(?m)^([A-Z_]+) *:=", MAKEFILE))
    assert "?=" not in MAKEFILE
    assert used <= assigned | {"MAKEFILE_LIST"}
