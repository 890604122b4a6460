"""Child processes that help one process and never outlive it.

Knows child processes. Knows nothing of torch, nor of the work of the processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Protocol

from training.errors import ProcessLost

#: Marks a process whose standard input ends when its parent is gone.
_ON_A_LEASH = "VAE_TRAIN_ON_A_LEASH"
#: Time for a process to end by itself when its work is done.
_LEAVING_S = 60.0
#: Time for the end of a process to be noticed, after its connections were lost.
_NOTICING_S = 5.0
_POLL_S = 0.1


class _Process(Protocol):
    """The required part of `subprocess.Popen`."""

    pid: int
    stdin: IO[bytes] | None

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Helpers:
    """The child processes of this process."""

    def __init__(self) -> None:
        self._started: list[tuple[_Process, IO[bytes]]] = []

    def start(self, command: Sequence[str], place: Mapping[str, str]) -> None:
        """Start one; its output is kept for a failure."""
        said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        self._started.append((start_process(command, {**os.environ, **place}, said), said))

    def raise_if_one_ended(self) -> None:
        """Check the processes while none is expected to end.

        Raises:
            ProcessLost: One has ended.
        """
        why = self._first_that_ended()
        if why is not None:
            raise ProcessLost(f"{why}.")

    def why_one_ended(self) -> str | None:
        """The first process that ended, after a lost connection; None if it was on another machine."""
        until = monotonic() + _NOTICING_S
        while self._started and (why := self._first_that_ended()) is None and monotonic() < until:
            sleep(_POLL_S)
        return why if self._started else None

    def _first_that_ended(self) -> str | None:
        for process, said in self._started:
            code = process.poll()
            if code is None:
                continue
            said.seek(0)
            last_line = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return f"child process {process.pid} {ended}. {last_line}".strip(" .")
        return None

    def wait(self) -> None:
        """Wait until they end by themselves."""
        for process, _ in self._started:
            try:
                process.wait(timeout=_LEAVING_S)
            except subprocess.TimeoutExpired:
                return

    def end(self) -> None:
        """End the remaining ones; they have nothing to save."""
        for process, said in self._started:
            process.kill()
            process.wait()
            for file in (process.stdin, said):
                if file is not None:
                    file.close()
        self._started = []


def start_process(command: Sequence[str], environment: Mapping[str, str], said: IO[bytes]) -> _Process:
    """A process that ends with this one, and that Ctrl-C in a terminal does not reach."""
    # The same code, from the location of this process; not from the current folder by chance (-P).
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return subprocess.Popen(  # noqa: S603  # this program, and nothing that a client sends
        [sys.executable, "-P", *command],
        env={**environment, "PYTHONPATH": path, _ON_A_LEASH: "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        start_new_session=True,
    )


def end_with_the_starter() -> None:
    """End this process at once when its parent is gone."""
    if _ON_A_LEASH not in os.environ:
        return

    def watch() -> None:
        # Not through sys.stdin, whose lock would be held when Python wants to end.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
