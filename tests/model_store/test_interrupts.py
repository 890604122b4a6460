"""A stop that a library turns into something else, or that comes when nothing is left to stop."""

from __future__ import annotations

import subprocess
import sys

import pytest
from patience import PATIENCE_S

from model_store import interrupts

PROGRAM = """
import atexit, os, signal, sys, time
from model_store import interrupts
from model_store.standard_streams import run_command

def stop():
    os.kill(os.getpid(), signal.SIGNAL)

def command():
    interrupts.raise_errors()
    {body}

interrupts.end_at_once("program")
sys.exit(interrupts.run("program", lambda: run_command("program", command)))
"""


def run(body: str, name: str = "SIGINT") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.replace("SIGNAL", name).format(body="\n    ".join(body.strip().splitlines()))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize(
    "body",
    [
        "stop()",
        # A library that turns every exception into its own.
        """
try:
    stop()
except BaseException as error:
    raise RuntimeError("native code failed") from error
""",
        """
try:
    stop()
except BaseException:
    raise OSError("while it cleaned up")
""",
        # A finaliser, which no exception can leave: Python would print a traceback and continue.
        """
class Late:
    def __del__(self):
        stop()
late = Late()
del late
time.sleep(60)
""",
        # The user is impatient.
        """
try:
    stop()
finally:
    stop()
""",
    ],
    ids=["plain", "caused", "while-cleaning", "finaliser", "twice"],
)
def test_a_stop_ends_with_one_line_whatever_became_of_it(body: str, name: str, code: int) -> None:
    done = run(body, name)
    assert (done.returncode, done.stderr) == (code, "program: stopped\n")


def test_an_error_of_its_own_stays_a_traceback() -> None:
    done = run("raise RuntimeError('a mistake of ours')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    ignored = run("class Late:\n    def __del__(self):\n        raise ValueError('ours')\nLate()\nreturn 0")
    assert "ValueError: ours" in ignored.stderr


def test_a_stop_after_the_result_is_known_changes_nothing() -> None:
    done = run("atexit.register(stop)\nprint('result')\nreturn 65")
    assert (done.returncode, done.stdout, done.stderr) == (65, "result\n", "")
    done = run("atexit.register(stop)\nsys.exit(3)")
    assert (done.returncode, done.stderr) == (3, "")


def test_cleanup_runs_before_the_line() -> None:
    done = run("try:\n    stop()\nfinally:\n    print('removed', flush=True)")
    assert (done.returncode, done.stdout) == (130, "removed\n")


def test_the_handlers_of_a_caller_are_left_alone() -> None:
    """Tests and notebooks call the commands in their own process."""
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], sys.unraisablehook
    interrupts.raise_errors()
    assert interrupts.run("program", lambda: 3) == 3
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], sys.unraisablehook
    assert after == before


def test_what_is_imported_before_the_handlers_is_little() -> None:
    """Each millisecond before them is one in which Ctrl-C prints a traceback."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from model_store import interrupts\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    brought = set(done.stdout.split())
    assert {"model_store", "model_store.interrupts", "signal"} <= brought
    assert not brought & {"typing", "re", "dataclasses", "argparse", "contextlib", "pathlib"}
