"""torchrun starts the processes of a run, and again after one was killed: always the same bits."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hazard_plugin import Hazard
from leftovers import environment_of
from patience import PATIENCE_S, eventually
from process_facts import children
from server_process import free_port
from small_recipes import small_recipe

REPOSITORY = Path(__file__).parents[2]
MNIST = REPOSITORY / "tests/data/mnist"
#: 11 steps an epoch; a checkpoint after each, so that a killed run has one to continue from.
RECIPE = small_recipe(
    "shared",
    latent_size=4,
    hidden=32,
    data={"validation_size": 92},
    trainer={
        "epochs": 30,
        "batch_size": 128,
        "precision": "float32",
        "checkpoint_minutes": 0.000001,
        "pictures_every_epochs": 1000,
    },
)


def fit(recipe: Path, out: Path, *more: str) -> list[str]:
    """The command that all start."""
    fixed = ["vae-train", "fit", "--recipe", str(recipe), "--data", str(MNIST), "--out", str(out)]
    return [*fixed, "--accelerator", "cpu", *more]


@contextlib.contextmanager
def started(log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """This command, with one thread in each process; ended with all that it started."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            arguments,
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                # torchrun ends its workers, which have sessions of their own; if it does not, we do.
                family = descendants(process.pid)
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=60)
                for pid in (process.pid, *family):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """All processes that a process and its children have started."""
    found = children(pid)
    return [*found, *(each for child in found for each in descendants(child))]


def torchrun(*options: str) -> list[str]:
    return ["torchrun", *options, "--no-python"]


def commands_of_slurm(folder: Path) -> None:
    """Two machines of this one's address, on which `srun` starts the same command."""
    for name, text in {
        "scontrol": 'printf "127.0.0.1\n127.0.0.1\n"',
        "srun": '"$@" & first=$!\n"$@"\nsecond=$?\nwait $first && exit $second',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(out / "model.pt", weights_only=True)["state_dict"]
    return found


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def are_equal(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return rows(first) == rows(second) and all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


@pytest.mark.hard
@pytest.mark.hazard_row("torchrun")
@pytest.mark.timeout(1800)
def test_torchrun_trains_what_devices_2_trains_also_after_a_kill(
    tmp_path: Path, hazard: Hazard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    recipe = tmp_path / "shared.toml"
    recipe.write_text(RECIPE)

    def done(name: str, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            assert process.wait(timeout=PATIENCE_S) == 0, [
                log.read_text()[-4000:] for log in tmp_path.glob(f"{name}*.log")
            ]

    whole = tmp_path / "whole"
    with started(tmp_path / "whole.log", *fit(recipe, whole, "--devices", "2")) as process:
        done("whole", process)

    with started(
        tmp_path / "static.log",
        *torchrun("--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port())),
        *fit(recipe, tmp_path / "static"),
    ) as process:
        done("static", process)

    commands_of_slurm(tmp_path)
    with started(
        tmp_path / "slurm.log",
        str(REPOSITORY / "deploy/training/slurm.sh"),
        "--accelerator",
        "cpu",
        PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        SLURM_JOB_NODELIST="two",
        SLURM_JOB_NUM_NODES="2",
        SLURM_JOB_ID="17",
        PORT=str(free_port()),
        RECIPE=str(recipe),
        DATA=str(MNIST),
        OUT=str(tmp_path / "slurm"),
    ) as script:
        done("slurm", script)

    killed = tmp_path / "killed"
    with started(
        tmp_path / "killed.log",
        *torchrun("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *fit(recipe, killed, "--resume=auto"),
    ) as agent:
        eventually(
            (killed / "checkpoints" / "last.ckpt").exists,
            lambda: (tmp_path / "killed.log").read_text()[-4000:],
        )
        (second,) = (pid for pid in children(agent.pid) if environment_of(pid, "LOCAL_RANK") == "1")
        os.kill(second, signal.SIGKILL)
        done("killed", agent)
    log = (tmp_path / "killed.log").read_text()
    assert "resuming from" in log, log

    same = {name: are_equal(tmp_path / name, whole) for name in ("static", "slurm", "killed")}
    hazard(
        "torchrun",
        figure=f"{sum(same.values())} of 3 ways bit-identical to --devices 2",
        bar="static, c10d on two machines, killed: bit-identical",
        met=all(same.values()),
    )
