"""`--version` of the three commands: the version of pyproject.toml, and nothing heavy imported for it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from patience import PATIENCE_S

from model_store.release import release

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = {"vae-serve": "service", "vae-store": "model_store.cli", "vae-train": "training.cli"}


def test_release_is_that_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert release() == project["version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_its_version_and_needs_no_heavy_library(command: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--version']\n"
        "try:\n"
        f"    runpy.run_module('{COMMANDS[command]}', run_name='__main__')\n"
        "finally:\n"
        "    sys.stdout.flush()\n"
        "    heavy = {'torch', 'onnxruntime', 'fastapi', 'lightning'} & set(sys.modules)\n"
        "    print(sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{command} {release()}\n", "[]\n")
