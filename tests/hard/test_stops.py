"""Ctrl-C at moments spread over the whole of every command of the trainer, training included."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hazard_plugin import Hazard
from small_recipes import TINY
from stops import Ended, events_of, spread, stopped_at

from model_store import BUNDLED_STORE

MOMENTS = 12
DIGITS = str(Path(__file__).parents[1] / "data" / "mnist")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a recipe, a finished run and a store."""
    folder = tmp_path_factory.mktemp("stops")
    (folder / "tiny.toml").write_text(TINY)
    shutil.copytree(BUNDLED_STORE / "mnist-2d", folder / "store" / "mnist-2d")
    done = stopped_at("never", "vae-train", *fit(folder, "run"))
    assert done.code == 0, done.err
    return folder


def fit(folder: Path, out: str) -> tuple[str, ...]:
    return ("fit", "--recipe", f"{folder}/tiny.toml", "--data", DIGITS, "--out", f"{folder}/{out}")


COMMANDS: dict[str, Callable[[Path, int], tuple[str, ...]]] = {
    "fit": lambda folder, number: fit(folder, f"new-{number}"),
    "evaluate": lambda folder, number: ("evaluate", f"{folder}/run", "--data", DIGITS),
    "compare": lambda folder, number: (
        "compare", f"{folder}/run", "mnist-2d@1", "--data", DIGITS, "--importance-samples", "1",
        "--importance-images", "5", "--out", f"{folder}/compare-{number}",
    ),
    "judge": lambda folder, number: (
        "judge", "--data", DIGITS, "--epochs", "1", "--out", f"{folder}/judge-{number}",
    ),
    "fit-prior": lambda folder, number: ("fit-prior", f"{folder}/run", "--data", DIGITS, "--no-labels"),
    "export": lambda folder, number: (
        "export", f"{folder}/run", "--name", "tiny", "--allow-collapsed", "--data", DIGITS,
    ),
}  # fmt: skip


def ends_well(ended: Ended) -> bool:
    """One line and 130: of the command, or of the training that has saved its state; or the result."""
    if "Traceback" in ended.err or "Exception ignored" in ended.err:
        return False
    lines = ended.err.splitlines()
    if ended.code == 130:
        return lines[-1].startswith("vae-train: ") and sum("vae-train: " in line for line in lines) == 1
    return ended.code == 0


@pytest.mark.hard
@pytest.mark.hazard_row("ctrl-c")
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_any_moment_of_a_command_of_the_trainer(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, hazard: Hazard, tmp_path: Path
) -> None:
    monkeypatch.setenv("VAE_MODEL_STORE", f"{folder}/store")
    arguments = COMMANDS[command]
    events = events_of("vae-train", *arguments(folder, 0), scratch=tmp_path)
    ended = [
        stopped_at(moment, "vae-train", *arguments(folder, moment)) for moment in spread(events, MOMENTS)
    ]
    bad = [each for each in ended if not ends_well(each)]
    stopped = sum(each.code == 130 for each in ended)
    hazard(
        "ctrl-c",
        figure=f"{command}: {stopped} of {len(ended)} stopped, {len(bad)} badly",
        bar="0 badly, most stopped",
        met=not bad and stopped >= len(ended) // 2,
    )
    assert not bad, bad[0]
