"""Several processes train as one does, and none is left behind however a run ends."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import PATIENCE_S
from process_facts import children, ends
from small_recipes import small_recipe
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from warm_processes import WarmProcess, start_warm

from model_store import ModelStore
from training import cli
from training.compute.processes import ALONE, Processes, find_processes
from training.compute.threads import use_allowed_threads
from training.config.reading import load_recipe
from training.config.recipe import RunConfig
from training.data import load_mnist
from training.errors import ConfigError, ProcessLost
from training.evaluation.figures import evaluate, write_evaluation
from training.fitting.callbacks import RunCheckpoint
from training.fitting.console import Console
from training.fitting.fit import fit
from training.fitting.trainer import resolve_precision
from training.publishing.export import export_run
from training.runs.run_directory import load_run

TWO = Processes(devices=2)

#: Everything that is drawn at random, and everything that is kept between steps; 11 steps an epoch.
RECIPE = small_recipe(
    "shared",
    latent_size=4,
    hidden=32,
    data={"validation_size": 92, "grey_fraction": 0.5, "distorted_fraction": 0.5},
    objective={"beta_warmup_epochs": 2.0},
    optimiser={"warmup_steps": 2},
    trainer={
        "epochs": 2,
        "batch_size": 128,
        "precision": "float32",
        "early_stopping_epochs": 2,
        "pictures_every_epochs": 1000,
    },
)
RESIDUAL = (
    "model.trunk={type='residual', encoder_channels=[4, 8], decoder_channels=[4, 8]}",
    "optimiser.name=muon",
    "trainer.epochs=1",
)
SILENT = Console(say=lambda _: None)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "shared.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def images(mnist_folder):
    return load_mnist(mnist_folder)


@pytest.fixture(scope="module", autouse=True)
def warm_helpers():
    """No pictures here, and helpers that need no time to start; one test starts real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fitting.snapshots.Pictures.draw", lambda self, model: None)
        patch.setattr("training.compute.child_processes.start_process", start_warm)
        # Now and then gloo does not see that the other process is gone, and waits in C code.
        patch.setattr("training.compute.processes.FIRST_WAITS", timedelta(seconds=60))
        yield


def helper(mnist_folder: Path) -> list[str]:
    data = ["--data", str(mnist_folder)]
    return ["-m", "training.cli", "fit", "--out", "nowhere", "--devices", "2", *data]


@pytest.fixture(scope="module")
def fit_by_two(images, mnist_folder):
    """Trains in this process and in one beside it."""

    def run(config: RunConfig, out: Path, *, resume: bool = False, data=images) -> None:
        fit(
            config,
            data,
            out,
            resume=resume,
            console=SILENT,
            processes=TWO,
            helper=helper(mnist_folder),
        )

    return run


@pytest.fixture(scope="module")
def by_two(recipe, fit_by_two, tmp_path_factory) -> Path:
    """The run that others are compared with."""
    out = tmp_path_factory.mktemp("two") / "run"
    fit_by_two(load_recipe(recipe), out)
    return out


def close(first, second) -> bool:
    """Equal up to the rounding of the gradient's mean, which the steps amplify."""
    return all(torch.allclose(first[key], second[key], rtol=1e-3, atol=1e-5) for key in first)


def test_two_processes_learn_what_one_does(recipe, images, tmp_path, by_two, weights_of, log_of):
    fit(load_recipe(recipe), images, tmp_path / "one", console=SILENT)
    assert close(weights_of(tmp_path / "one"), weights_of(by_two))
    for one, two in zip(log_of(tmp_path / "one"), log_of(by_two), strict=True):
        assert one == pytest.approx(two, rel=1e-5)
    fit(load_recipe(recipe, overrides=["trainer.seed=1"]), images, tmp_path / "other", console=SILENT)
    assert not close(weights_of(tmp_path / "other"), weights_of(by_two)), "the comparison cannot fail"


def test_two_processes_learn_what_one_does_with_convolutions_and_muon(
    recipe, images, fit_by_two, tmp_path, weights_of, log_of
):
    config = load_recipe(recipe, overrides=RESIDUAL)
    fit_by_two(config, tmp_path / "two")
    fit(config, images, tmp_path / "one", console=SILENT)
    assert close(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))
    assert log_of(tmp_path / "one")[-1] == pytest.approx(log_of(tmp_path / "two")[-1], rel=1e-5)


def test_two_processes_start_from_a_version_and_draw_several_samples_as_one_does(
    recipe, images, by_two, mnist_folder, tmp_path, monkeypatch, weights_of, log_of
):
    store = ModelStore(tmp_path / "store")
    write_evaluation(
        by_two, evaluate(load_run(by_two).model, images.test, importance_samples=2, importance_images=9)
    )
    export_run(
        by_two, name="start", store=store, cache_dir=tmp_path, tell=lambda _: None, allow_collapsed=True
    )
    several = ["trainer.start_from='start@1'", "objective.importance_samples=3"]
    config = load_recipe(recipe, overrides=[*several, "objective.beta_warmup_epochs=0", "trainer.epochs=1"])
    for out, processes in (("one", ALONE), ("two", TWO)):
        fit(
            config,
            images,
            tmp_path / out,
            console=SILENT,
            store=store,
            processes=processes,
            helper=helper(mnist_folder),
        )
    assert close(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))
    assert log_of(tmp_path / "one")[-1] == pytest.approx(log_of(tmp_path / "two")[-1], rel=1e-5)
    first, anew = (log_of(run)[0]["train_negative_elbo"] for run in (tmp_path / "one", by_two))
    assert first < 0.9 * anew, "it began anew"


def test_a_run_says_how_many_processes_trained_it(by_two):
    said = json.loads((by_two / "provenance.json").read_text())
    assert (said["devices"], said["nodes"], said["accelerator"], said["threads"]) == (2, 1, "cpu", 1)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (signal.SIGKILL, "was killed by signal 9"),
        (signal.SIGSTOP, "the connection to another process was lost"),
    ],
    ids=["killed", "frozen"],
)
def test_a_lost_process_ends_the_run_which_resumes_to_the_same_bits(
    recipe, fit_by_two, tmp_path, by_two, monkeypatch, same_weights, log_of, sent, told
):
    """Cut off in the middle of the second epoch, where sums of the epoch are under way."""
    config = load_recipe(recipe, overrides=["trainer.checkpoint_minutes=0.000001"])
    started = []
    original = RunCheckpoint._save

    def cut_off(self, trainer):
        original(self, trainer)
        if trainer.global_step == 16:
            os.kill(started[0].pid, sent)

    def start(*arguments):
        started.append(start_warm(*arguments))
        return started[-1]

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoint, "_save", cut_off)
        patch.setattr("training.compute.child_processes.start_process", start)
        if sent == signal.SIGSTOP:  # nothing but the wait shows it
            patch.setattr("training.compute.processes.FIRST_WAITS", timedelta(seconds=20))
        with pytest.raises(ProcessLost, match=rf"{told}\. The last checkpoint is kept\. Continue"):
            fit_by_two(config, tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] >= 16
    fit_by_two(config, tmp_path / "run", resume=True)
    assert same_weights(tmp_path / "run", by_two)
    assert log_of(tmp_path / "run") == log_of(by_two)


def test_other_images_than_the_first_process_has_are_refused(recipe, digits, fit_by_two, tmp_path):
    with pytest.raises(ProcessLost, match="ended with exit code 65") as lost:
        fit_by_two(load_recipe(recipe, overrides=["trainer.batch_size=64"]), tmp_path / "run", data=digits)
    assert "expected the images of the first process" in str(lost.value)


def test_two_machines_train_as_two_processes_of_one(
    recipe, mnist_folder, tmp_path, by_two, same_weights, log_of
):
    """Here on one machine, by its own address. The second has another --out and leaves nothing there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    fixed = [
        "fit",
        "--recipe",
        str(recipe),
        "--data",
        str(mnist_folder),
        "--nodes",
        "2",
        "--accelerator",
        "cpu",
    ]
    with contextlib.ExitStack() as stack:
        machines = []
        for node_rank in (1, 0):
            said = stack.enter_context(tempfile.TemporaryFile())
            environment = {**os.environ, **address, "NODE_RANK": str(node_rank)}
            arguments = [*fixed, "--out", str(tmp_path / str(node_rank))]
            machines.append((WarmProcess(arguments, environment, said), said))
        for machine, said in machines:
            stack.callback(machine.kill)
            code = machine.wait(timeout=PATIENCE_S)
            said.seek(0)
            assert code == 0, said.read().decode()
    assert not (tmp_path / "1").exists()
    assert (tmp_path / "0" / "evaluation.json").exists()
    assert same_weights(tmp_path / "0", by_two)
    assert log_of(tmp_path / "0") == log_of(by_two)


def test_sigterm_to_the_command_saves_and_leaves_no_process(recipe, mnist_folder, tmp_path):
    """The command itself, with a helper that it starts itself."""
    script = "import sys; from training.cli import main; sys.exit(main())"
    fixed = ["fit", "--recipe", str(recipe), "--data", str(mnist_folder), "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *fixed, "--devices", "2", "--set", "trainer.epochs=10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("epoch 1/") for line in process.stdout)
            [helper_pid] = children(process.pid)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "and saved. Continue with the same command and --resume." in errors
    assert ends(helper_pid, within_s=1)
    torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(recipe, images, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a multiple of 3, the number of processes, .* got 128"):
        fit(load_recipe(recipe), images, tmp_path / "run", console=SILENT, processes=Processes(devices=3))
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_told(recipe, tmp_path, mnist_folder, capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("NODE_RANK", "0")
        out = ["--out", str(tmp_path / "run"), "--nodes", "2", "--accelerator", "cpu"]
        assert cli.main(["fit", "--recipe", str(recipe), "--data", str(mnist_folder), *out]) == 2
    assert "expected an address of this machine and a free port, could not listen" in capsys.readouterr().err


def place(devices: int | None = 2, nodes: int | None = 1, **environment: str) -> Processes:
    return find_processes(devices=devices, nodes=nodes, accelerator="cpu", environment=environment)


def test_one_process_is_alone_whatever_the_environment_says():
    assert place(1, NODE_RANK="7", LOCAL_RANK="3", MASTER_ADDR="elsewhere") == Processes()


def test_a_process_finds_its_place_in_the_environment():
    master: dict[str, Any] = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert place().leads
    assert place(2, 3, NODE_RANK="2", **master).rank == 4
    assert place(2, 3, GROUP_RANK="1", LOCAL_RANK="1", **master).rank == 3  # torchrun
    assert place(1, 4, SLURM_NODEID="3", **master).rank == 3
    assert place(2, LOCAL_RANK="0", **master).launched
    assert place(2, 2, NODE_RANK="1", **master).count == 4


def by_torchrun(**changes: str) -> dict[str, str]:
    """What torchrun sets for the second process of the third of four machines, with two on each."""
    return {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "2",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "8",
        "GROUP_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        **changes,
    }


def test_torchrun_decides_how_many_processes_there_are():
    found = place(None, None, **by_torchrun())
    assert (found.devices, found.nodes, found.rank, found.launched) == (2, 4, 5, True)
    assert place(2, 4, **by_torchrun()) == found, "the same numbers as options are no contradiction"
    assert place(None, None, **by_torchrun(NODE_RANK="0", SLURM_NODEID="0")) == found
    without = by_torchrun()
    del without["GROUP_WORLD_SIZE"]  # not documented by torchrun
    assert place(None, None, **without) == found
    one = by_torchrun(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", WORLD_SIZE="1", GROUP_WORLD_SIZE="1")
    assert place(None, None, **one) == ALONE
    assert place(None, None, WORLD_SIZE="8", LOCAL_WORLD_SIZE="2") == ALONE, "some other launcher's variables"


@pytest.mark.parametrize(
    ("devices", "nodes", "changes", "told"),
    [
        (1, None, {}, "--devices: expected 2, as torchrun started them, got 1. Leave the option out."),
        (None, 2, {}, "--nodes: expected 4, as torchrun started them, got 2"),
        (None, None, {"WORLD_SIZE": "7"}, "on each of 4 machines, got 2 of 7 on this one"),
        (None, None, {"WORLD_SIZE": "many"}, "WORLD_SIZE: expected a number from 0 to"),
        (None, None, {"LOCAL_WORLD_SIZE": "0", "WORLD_SIZE": "0"}, "expected the same number of processes"),
    ],
)
def test_numbers_that_contradict_torchrun_are_refused(devices, nodes, changes, told):
    """Two processes that each believed to be alone would write into one directory."""
    with pytest.raises(ConfigError, match=re.escape(told)):
        place(devices, nodes, **by_torchrun(**changes))


def test_a_run_that_torchrun_restarts_goes_on_to_the_same_bits(
    recipe, images, mnist_folder, tmp_path, by_two, monkeypatch, same_weights, log_of
):
    """Its agent keeps the store, with the addresses of the processes that are gone."""
    config = load_recipe(recipe, overrides=["trainer.checkpoint_minutes=0.000001"])
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = by_torchrun(
        LOCAL_RANK="0",
        RANK="0",
        GROUP_RANK="0",
        WORLD_SIZE="2",
        GROUP_WORLD_SIZE="1",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(agent.port),
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    original = RunCheckpoint._save

    def attempt(kill_at: int | None, *, resume: bool) -> None:
        with tempfile.TemporaryFile() as said, monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            arguments = ["fit", "--data", str(mnist_folder), "--out", str(tmp_path / "run"), "--resume=auto"]
            second = WarmProcess(
                [*arguments, "--accelerator", "cpu"], {**os.environ, "LOCAL_RANK": "1", "RANK": "1"}, said
            )

            def cut_off(self, trainer):
                original(self, trainer)
                if trainer.global_step == kill_at:
                    second.kill()

            patch.setattr(RunCheckpoint, "_save", cut_off)
            processes = find_processes(devices=None, nodes=None, accelerator="cpu")
            try:
                fit(
                    config,
                    images,
                    tmp_path / "run",
                    resume=resume,
                    console=SILENT,
                    processes=processes,
                )
            finally:
                if kill_at is not None:
                    second.kill()
                assert second.wait(timeout=PATIENCE_S) == (-signal.SIGKILL if kill_at else 0), said.read()

    with pytest.raises(ProcessLost, match="the connection to another process was lost"):
        attempt(16, resume=False)
    attempt(None, resume=True)
    assert same_weights(tmp_path / "run", by_two)
    assert log_of(tmp_path / "run") == log_of(by_two)
    del agent


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "expected MASTER_ADDR, MASTER_PORT, NODE_RANK in the environment"),
        ({"MASTER_ADDR": "a", "NODE_RANK": "0"}, "expected MASTER_PORT in the environment"),
        (
            {"MASTER_ADDR": "a", "MASTER_PORT": "b", "NODE_RANK": "0"},
            "MASTER_PORT: expected a number from 0 to",
        ),
        (
            {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "2"},
            "NODE_RANK: expected a number from 0 to 1",
        ),
    ],
)
def test_what_is_missing_in_the_environment_is_told(environment, told):
    with pytest.raises(ConfigError, match=told):
        place(2, 2, **environment)


@pytest.mark.parametrize("options", [["--devices", "0"], ["--nodes", "-1"], ["--nodes", "2"]])
def test_the_command_refuses_processes_that_cannot_be(options, recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert cli.main(["fit", "--recipe", str(recipe), "--out", str(tmp_path / "run"), *options]) == 2
    assert capsys.readouterr().err.startswith(f"vae-train: {options[0]}")


def test_a_gpu_is_taken_where_there_is_one_and_refused_where_not(tiny, monkeypatch):
    for gpus, auto in ((0, "cpu"), (2, "gpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert find_processes(devices=2, nodes=1, accelerator="auto", environment={}).accelerator == auto
        with pytest.raises(ConfigError, match=f"expected as many GPUs as devices, 3; torch finds {gpus}"):
            find_processes(devices=3, nodes=1, accelerator="gpu", environment={})
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert resolve_precision(tiny(trainer={"precision": "auto"}).trainer, "gpu") == expected


@pytest.mark.parametrize(("processes", "expected"), [(1, 5), (2, 2), (9, 1)])
def test_the_processes_of_a_machine_share_its_threads(processes, expected, monkeypatch):
    chosen = []
    monkeypatch.setattr("training.compute.threads.allowed_threads", lambda: 5)
    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    use_allowed_threads(processes=processes)
    assert chosen == [expected]
