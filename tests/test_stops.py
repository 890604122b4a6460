"""Ctrl-C and SIGTERM at any moment of a command: one line and an exit code, never a traceback.

Each process gets its signal at the import of a module, or at the n-th audit event: never after a time. The
few milliseconds in which Python itself starts, before the first line of ours, are Python's.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S
from stops import events_of, spread, stopped_at

from model_store import BUNDLED_STORE

#: Commands that need no training and end by themselves, with their exit code.
STORE_COMMANDS = {
    ("list",): 0,
    ("show", "mnist-2d"): 0,
    ("verify", "mnist-2d"): 0,
    ("promote", "mnist-2d@1", "tested"): 0,
    ("rollback", "mnist-2d@stable"): 66,
    ("add", "bundled/mnist-2d"): 0,
    ("remove", "mnist-2d@2"): 73,
    ("history", "mnist-2d"): 0,
    ("gc", "--dry-run"): 0,
    ("--help",): 0,
    ("nonsense",): 2,
}
SERVER_COMMANDS = {
    ("limits",): 0,
    ("openapi",): 0,
    ("check", "--default-model", "mnist-2d"): 0,
    ("healthcheck", "--port", "1"): 1,
    ("key",): 0,
    ("bench", "http://127.0.0.1:1"): 69,
    ("run", "--help"): 0,
    ("run", "--port", "x"): 78,
}
TRAINER_COMMANDS = (
    ("fit", "--recipe", "quick", "--data", "nowhere", "--out", "nowhere/run"),
    ("evaluate", "nowhere/run"),
    ("compare", "nowhere/a", "nowhere/b", "--out", "nowhere/c"),
    ("judge", "--out", "nowhere/judge"),
    ("fit-prior", "nowhere/run"),
    ("export", "nowhere/run", "--name", "m"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one small model."""
    root = tmp_path_factory.mktemp("stops") / "store"
    shutil.copytree(BUNDLED_STORE / "mnist-2d", root / "mnist-2d")
    return root


@pytest.fixture
def in_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_MODEL_STORE", str(store))


def ends_well_at_every_moment(program, arguments, code, moments, tmp_path) -> None:
    """Either the line, or the result, if the signal came after it was known."""
    events = events_of(program, *arguments, scratch=tmp_path)
    stopped = 0
    for moment in spread(events, moments):
        ended = stopped_at(moment, program, *arguments)
        assert "Traceback" not in ended.err, ended
        assert "Exception ignored" not in ended.err, ended
        if ended.is_stopped(program):
            stopped += 1
        else:
            assert ended.code == code, ended
    assert stopped > 0, "no moment came before the result: nothing was tested"


@pytest.mark.parametrize("arguments", STORE_COMMANDS, ids=lambda a: a[0])
def test_store_command_stops_with_one_line_at_any_moment(arguments, in_store, tmp_path) -> None:
    ends_well_at_every_moment("vae-store", arguments, STORE_COMMANDS[arguments], 8, tmp_path)


@pytest.mark.parametrize("arguments", SERVER_COMMANDS, ids=lambda a: a[0])
def test_server_command_stops_with_one_line_at_any_moment(arguments, in_store, tmp_path) -> None:
    ends_well_at_every_moment("vae-serve", arguments, SERVER_COMMANDS[arguments], 6, tmp_path)


@pytest.mark.parametrize("arguments", TRAINER_COMMANDS, ids=lambda a: a[0])
@pytest.mark.parametrize("moment", ["argparse", "training.cli", "torch"])
def test_trainer_command_stops_with_one_line_while_it_starts(arguments, moment) -> None:
    ended = stopped_at(moment, "vae-train", *arguments)
    assert ended.is_stopped("vae-train"), ended
    assert ended.out == ""


@pytest.mark.parametrize("moment", ["torch._C", "numpy", "lightning.pytorch", "training.models"])
def test_fit_stops_with_one_line_within_the_imports_of_its_libraries(moment) -> None:
    """A native module that is stopped by an exception reports another one, of 18 to 41 lines."""
    ended = stopped_at(moment, "vae-train", *TRAINER_COMMANDS[0])
    assert ended.is_stopped("vae-train"), ended


@pytest.mark.parametrize("moment", [1, "service.cli", "pydantic", "uvicorn", "onnxruntime", "service.app"])
def test_server_that_starts_stops_with_one_line(moment, in_store) -> None:
    ended = stopped_at(moment, "vae-serve", "run", "--port", "0")
    assert ended.is_stopped("vae-serve"), ended
    assert ended.out == ""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_that_loads_its_models_stops_with_130(workers, in_store) -> None:
    """`uvloop` is imported after the server has its own handlers: it ends in order, and logs that."""
    moment = "uvloop" if workers == "1" else "service.process.shared_files"
    ended = stopped_at(moment, "vae-serve", "run", "--port", "0", "--workers", workers)
    assert ended.code == 130, ended
    assert ended.err.endswith("vae-serve: stopped\n")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("program", "arguments", "moment"),
    [
        ("vae-store", ("verify",), "model_store.cli"),
        ("vae-store", ("verify",), "numpy"),
        ("vae-serve", ("check",), "pydantic"),
        ("vae-train", TRAINER_COMMANDS[1], "torch"),
    ],
)
def test_sigterm_ends_a_command_with_143_and_the_same_line(program, arguments, moment, in_store) -> None:
    """Process 1 of a container gets no default action: without a handler, `docker stop` waits and kills."""
    ended = stopped_at(moment, program, *arguments, number=signal.SIGTERM)
    assert ended.is_stopped(program, 143), ended


def test_a_start_that_sigterm_ends_is_no_failure_of_a_server(in_store) -> None:
    ended = stopped_at("onnxruntime", "vae-serve", "run", "--port", "0", number=signal.SIGTERM)
    assert (ended.code, ended.err) == (0, "")


def test_a_signal_that_the_parent_ignores_stays_ignored(store) -> None:
    """As under `nohup`, or in the background of a script."""
    script = 'trap "" INT; exec "$0" -c "$1" "$2"'
    program = (
        "import os, signal, sys\n"
        "from model_store.__main__ import main\n"
        "def stop(event, _):\n"
        "    if event == 'open': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.addaudithook(stop)\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, program, "list"],
        capture_output=True,
        text=True,
        env={**os.environ, "VAE_MODEL_STORE": str(store)},
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "mnist-2d@2" in done.stdout


def test_on_a_terminal_the_line_takes_the_place_of_the_echoed_key() -> None:
    ours, theirs = pty.openpty()
    program = (
        "import os, signal\n"
        "from model_store import interrupts\n"
        "interrupts.end_at_once('vae-store')\n"
        "os.write(2, b'  ### 3 of 4 images^C')\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    for term, before in (("xterm", "\r\x1b[K"), ("dumb", "\n")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            stderr=theirs,
            env={**os.environ, "TERM": term},
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 130
        shown = os.read(ours, 1000).decode().replace("\r\n", "\n")
        assert shown == f"  ### 3 of 4 images^C{before}vae-store: stopped\n"
    os.close(ours)
    os.close(theirs)
