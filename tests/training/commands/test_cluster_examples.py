"""The examples for clusters start a command that exists, with a directory that all processes share."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import PATIENCE_S
from torch.distributed.run import get_args_parser

from training.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[3]
SLURM = REPOSITORY / "deploy/training/slurm.sh"
KUBEFLOW = REPOSITORY / "deploy/training/kubeflow.yaml"


def vae_train(torchrun: list[str]) -> Any:
    """The arguments of `vae-train` behind those of torchrun, read by both parsers."""
    options = get_args_parser().parse_args(torchrun)
    assert options.no_python
    assert int(options.max_restarts) > 0
    assert options.training_script == "vae-train"
    arguments = build_parser().parse_args(options.training_script_args)
    assert arguments.resume == "auto", "a restart would be refused, because the directory is not empty"
    assert arguments.devices is arguments.nodes is None, "torchrun decides"
    return arguments


def objects() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(KUBEFLOW.read_text())}


def test_kubeflow_trains_into_a_volume_that_the_pods_share() -> None:
    claim, runtime, job = (
        objects()[kind] for kind in ("PersistentVolumeClaim", "TrainingRuntime", "TrainJob")
    )
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["apiVersion"] == runtime["apiVersion"] == "trainer.kubeflow.org/v1alpha1"
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    # Kubeflow gives the container of this name its variables.
    (container,) = pod["containers"]
    assert replicated["name"] == container["name"] == "node"
    assert container["command"][0] == "torchrun"
    arguments = vae_train(container["command"][1:])
    (mount,) = container["volumeMounts"]
    assert arguments.out.is_relative_to(mount["mountPath"])
    assert Path(arguments.data).is_relative_to(mount["mountPath"])
    (volume,) = pod["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    image = (REPOSITORY / "training/Dockerfile").read_text()
    user = pod["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in image
    assert "numNodes" in runtime["spec"]["mlPolicy"]


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [("8", "2", "4"), ("1", "2", "1"), (None, None, "1")]
)
def test_slurm_starts_torchrun_on_every_machine(
    cores: str | None, processes: str | None, threads: str, tmp_path: Path
) -> None:
    """With the commands of SLURM in front of it, which note what they are asked for."""
    for name, text in {
        "scontrol": '[ "$*" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"',
        "srun": 'printf "%s\\n" "$OMP_NUM_THREADS" "$@"',
    }.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{text}\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "17",
        "DATA": "/shared/my digits",
        "OUT": "/shared/runs/mnist",
        **({} if cores is None else {"SLURM_CPUS_PER_TASK": cores}),
        **({} if processes is None else {"PROCESSES": processes}),
    }
    done = subprocess.run(
        [str(SLURM), "--set", "trainer.epochs=2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    used, first, *words = done.stdout.splitlines()
    assert used == threads
    assert first == "torchrun"
    arguments = vae_train(words)
    options = get_args_parser().parse_args(words)
    assert (options.nnodes, options.nproc_per_node) == ("2", processes or "1")
    assert (options.rdzv_backend, options.rdzv_endpoint, options.rdzv_id) == ("c10d", "node1:29500", "17")
    assert str(arguments.data) == "/shared/my digits"
    assert arguments.overrides == ["trainer.epochs=2"]


def test_slurm_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SLURM)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "SLURM_JOB_NODELIST" in done.stderr
    assert sys.executable not in done.stderr
