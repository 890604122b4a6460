"""A command line whose standard streams are closed, full, non-blocking or of a small encoding."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.standard_streams import run_command

FULL = "standard output: expected a writable stream, got No space left on device. Redirect it elsewhere."
PROGRAM = """
import contextlib, os, sys
from model_store.standard_streams import OutputError, run_command
def command():
    {body}
sys.exit(run_command("program", command))
"""


def run(body: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with this body, started by a shell with this redirection."""
    program = PROGRAM.format(body="\n    ".join(body.strip().splitlines()))
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, program],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("size", [3, 9_000, 300_000])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_reported_with_74(size: int, unbuffered: str) -> None:
    """Small output fails only when it is flushed, large output at once: neither may pass unnoticed."""
    done = run(f"print('x' * {size})\nreturn 0", ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (74, f"program: {FULL}\n")


def test_a_closed_output_is_reported_with_74() -> None:
    done = run("print('x')\nreturn 0", ">&-")
    assert done.returncode == 74
    assert "got Bad file descriptor" in done.stderr
    assert run("return 0", ">&-").returncode == 0, "a command that says nothing needs no output"


def test_messages_that_cannot_be_written_change_no_exit_code() -> None:
    for redirection in ("2>&-", "2>/dev/full"):
        done = run("print('lost', file=sys.stderr)\nprint('x')\nreturn 3", redirection)
        assert (done.returncode, done.stdout) == (3, "x\n")
    assert run("print('x')\nreturn 0", ">&- 2>&-").returncode == 74


def test_closed_descriptors_are_not_given_to_the_next_file() -> None:
    """A socket on descriptor 2 would get the messages of every native library."""
    done = run("found = os.open('/dev/null', os.O_RDONLY)\nreturn found", ">&- 2>&- <&-")
    assert done.returncode > 2


def test_a_reader_that_left_ends_it_quietly_with_141() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    program = PROGRAM.format(body="print('x')\n    return 0")
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=theirs, stderr=subprocess.PIPE, timeout=100, check=False
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_exit_code_of_a_failed_command_is_kept() -> None:
    assert run("print('x')\nreturn 65", ">/dev/full", PYTHONUNBUFFERED="").returncode == 65


def test_work_goes_on_after_the_output_failed() -> None:
    body = """
with contextlib.suppress(OutputError):
    print('epoch 1', flush=True)
print('epoch 2', flush=True)
print('trained', file=sys.stderr)
return 0
"""
    done = run(body, ">/dev/full")
    assert (done.returncode, done.stderr) == (74, f"trained\nprogram: {FULL}\n")


def test_ctrl_c_ends_it_with_130_and_no_traceback() -> None:
    done = run("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "program: stopped\n")


def test_a_signal_handler_may_print_while_a_line_is_written() -> None:
    """`vae-train fit` says on Ctrl-C that it stops after this step."""
    body = """
import signal
signal.signal(signal.SIGALRM, lambda *_: print('noticed', flush=True))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(2000):
    print('x' * 2000, flush=True)
signal.setitimer(signal.ITIMER_REAL, 0)
return 0
"""
    done = run(body, "| cat; exit 0")
    assert done.stderr == ""
    assert done.stdout.count("x") == 2000 * 2000
    assert "noticed" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_characters_the_encoding_lacks_are_escaped_as_json_does(encoding: str) -> None:
    text = "× σ – \N{GRINNING FACE} \udcff"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=f"print({json.dumps(text)!s}); return 0")],
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(f'"{done.stdout.decode(encoding).strip()}"') == text


def test_a_pipe_that_another_process_made_non_blocking_gets_everything() -> None:
    """Terminals and pipes are shared, and so is their mode: programs around us set it."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(theirs, False)
    program = PROGRAM.format(body="print('x' * 1_000_000)\n    return 0")
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        assert len(pipe.read()) == 1_000_001
    assert process.wait(timeout=100) == 0


def test_streams_of_a_caller_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    assert run_command("program", lambda: sys.stdout.write("×\n")) == 2
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "×\n"


COMMANDS = {
    "vae-serve": ("service.cli", ["run", "check", "openapi", "limits", "healthcheck", "key", "bench"]),
    "vae-store": (
        "model_store.cli",
        ["list", "show", "verify", "promote", "rollback", "add", "remove", "history", "gc"],
    ),
    "vae-train": ("training.cli", ["fit", "evaluate", "compare", "judge", "fit-prior", "export"]),
}


@pytest.mark.parametrize("program", COMMANDS)
def test_help_of_every_command_is_text_for_people(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`bench --help` showed `%%`."""
    module, commands = COMMANDS[program]
    main = importlib.import_module(module).main
    for arguments in ([], *([command] for command in commands)):
        with pytest.raises(SystemExit):
            main([*arguments, "--help"])
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: {' '.join([program, *arguments])}")
        assert "%%" not in shown
        assert "%(" not in shown


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("service", ["limits"]),
        ("service", ["run", "--help"]),
        ("service", ["key"]),
        ("model_store.cli", ["list"]),
        ("training.cli", ["--help"]),
    ],
)
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", ">&- 2>&-"])
def test_every_command_line_survives_an_output_it_cannot_write(
    module: str, arguments: list[str], redirection: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m "$@" {redirection}', sys.executable, module, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 74
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_line_that_cannot_be_said_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from model_store.standard_streams import _Output
    from training.commands.progress import say

    descriptor = os.open("/dev/full", os.O_WRONLY)
    with contextlib.closing(_Output(descriptor)) as output:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output))
        say("epoch 1")
        say("epoch 2")
        assert output.failure is not None
    monkeypatch.undo()
    os.close(descriptor)


def test_importing_the_store_or_this_module_brings_no_numpy() -> None:
    """`vae-serve healthcheck` runs every few seconds, and the supervisor stays small."""
    code = (
        "import sys; import service.process.supervisor, service.cli; "
        "sys.exit('numpy' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


def test_every_public_name_of_the_store_is_there() -> None:
    import model_store

    for name in model_store.__all__:
        assert getattr(model_store, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = model_store.nothing
    assert Path(model_store.__file__).name == "__init__.py"
