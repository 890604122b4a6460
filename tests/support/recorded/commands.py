"""What the command lines print. Each command runs in a process of its own.

Knows `[project.scripts]` of pyproject.toml. Knows nothing of what the commands do. The process is a fork of
one that has imported the program, because importing takes longer than all commands together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recorded.notebook import plain_environment

_REPOSITORY = Path(__file__).resolve().parents[3]
_EACH_IN_A_COPY = """
import importlib, json, os, sys, tempfile
program, target = sys.argv[1:]
commands = json.load(sys.stdin)
module, _, name = target.partition(":")
main = getattr(importlib.import_module(module), name)

def begin(command, out, err):
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = [program, *command]

# Once for nothing, so that the copies have all modules that it imports.
kept = os.dup(1), os.dup(2)
nowhere = os.open(os.devnull, os.O_WRONLY)
begin(commands[0], nowhere, nowhere)
try:
    main()
except SystemExit:
    pass
sys.stdout.flush()
os.dup2(kept[0], 1)
os.dup2(kept[1], 2)

printed = []
for command in commands:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            begin(command, out.fileno(), err.fileno())
            sys.exit(main())  # as any process ends: what waits to be written is written
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        printed.append([os.waitstatus_to_exitcode(status), *texts])
print(json.dumps(printed))
"""


@dataclass(frozen=True)
class Printed:
    """Exit code, and both streams."""

    code: int
    out: str
    err: str


def run_all(program: str, commands: Sequence[Sequence[str]], environment: dict[str, str]) -> list[Printed]:
    """Each command of one program, in a plain environment with `environment` added."""
    scripts = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    done = subprocess.run(
        [sys.executable, "-c", _EACH_IN_A_COPY, program, scripts[program]],
        input=json.dumps([list(command) for command in commands]),
        cwd=_REPOSITORY,
        env={**plain_environment(), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Printed(*each) for each in json.loads(done.stdout)]


def lines_of(text: str) -> Iterator[str]:
    """Lines; a usage is one line, since versions of Python break it at different places."""
    usage: list[str] = []
    for line in text.splitlines():
        if line.startswith("usage: ") or (usage and line.startswith(" ")):
            usage.append(line.strip())
            continue
        if usage:
            yield " ".join(usage)
            usage = []
        yield line.rstrip()
    if usage:
        yield " ".join(usage)
