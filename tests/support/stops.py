"""A command line in a process of its own that gets a signal at a chosen moment of its start or work.

Knows Python's audit events, `[project.scripts]` and signals. Knows nothing of what a command does. The
process sends the signal to itself at an audit event (an import, an opened file, …). So each moment is hit
exactly, however slow the machine is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patience import PATIENCE_S

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROJECT = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]
#: As the script that pip installs, and then a hook that counts from the first line of `main` on.
_PROGRAM = """
import importlib, os, sys
target, number, moment, count_file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
module, _, name = target.partition(":")
sys.argv = [target, *sys.argv[5:]]
main = getattr(importlib.import_module(module), name)
seen = 0

def hook(event, arguments):
    global seen, moment
    seen += 1
    if moment == str(seen) or (event == "import" and arguments[0] == moment):
        moment = ""
        os.kill(os.getpid(), number)

sys.addaudithook(hook)
try:
    sys.exit(main())
finally:
    if count_file:
        with open(count_file, "w") as file:
            file.write(str(seen))
"""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    moment: str
    code: int
    out: str
    err: str

    def is_stopped(self, program: str, code: int = 130) -> bool:
        """Whether it ended with one line and this exit code."""
        return (self.code, self.err) == (code, f"{program}: stopped\n")


def stopped_at(
    moment: str | int,
    program: str,
    *arguments: str,
    number: signal.Signals = signal.SIGINT,
    count_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command that gets a signal at a moment.

    Args:
        moment: The name of a module, whose import is the moment; or the number of an audit event.
        program: Its name in `[project.scripts]`.
        arguments: Its command line.
        number: The signal.
        count_file: Receives the number of all events.
        environment: Variables in addition to those of this process.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _PROGRAM,
            _PROJECT["scripts"][program],
            str(int(number)),
            str(moment),
            str(count_file or ""),
            *arguments,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", **(environment or {})},
        timeout=PATIENCE_S,
        check=False,
    )
    return Ended(str(moment), done.returncode, done.stdout, done.stderr)


def events_of(program: str, *arguments: str, scratch: Path) -> int:
    """Number of audit events of a command that gets no signal."""
    count_file = scratch / "events"
    stopped_at("never", program, *arguments, count_file=count_file)
    return int(count_file.read_text())


def spread(events: int, moments: int) -> Sequence[int]:
    """Moments from the first event to the last, evenly."""
    return sorted({1 + round(number * (events - 1) / max(1, moments - 1)) for number in range(moments)})
