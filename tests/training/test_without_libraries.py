"""`vae-train` where only the server is installed: the command is there, its libraries are not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from patience import PATIENCE_S

from training.cli import EXIT_NOT_INSTALLED, TRAINER_LIBRARIES


def run_without(missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None  # importing it now fails as if it were not installed\n"
        "from training.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("fit", "--out", "run"),
        ("evaluate", "run"),
        ("compare", "a", "b", "--out", "c"),
        ("judge", "--out", "j"),
        ("fit-prior", "run"),
        ("export", "run", "--name", "m"),
        ("import", "diffusers", "folder", "--name", "m"),
    ],
)
def test_every_command_says_how_to_install_them(command: tuple[str, ...]) -> None:
    done = run_without("torch", *command)
    assert done.returncode == EXIT_NOT_INSTALLED
    assert "found no torch" in done.stderr
    assert "make install-dev" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_none_of_them() -> None:
    done = run_without("torch", "fit", "--help")
    assert done.returncode == 0
    assert "--recipe" in done.stdout


def test_a_library_of_ours_that_is_missing_stays_a_traceback() -> None:
    """A module that no extra brings is a defect of the package, and must not be told as a missing install."""
    assert "model_store" not in TRAINER_LIBRARIES
    done = run_without("training.commands", "fit", "--out", "run")
    assert "Traceback" in done.stderr
