"""Processes that run `vae-train` without the seconds that importing torch and Lightning takes.

A server that has imported them forks each; it is started once. What it runs is the real command, in a
process of its own; only how that process came to be differs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO

import pytest

_WARM = multiprocessing.get_context("forkserver")


def _run(arguments: Sequence[str], environment: Mapping[str, str], said: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    with open(os.devnull, "wb") as nothing, open(said, "ab") as file:  # noqa: PTH123  # descriptors
        os.dup2(nothing.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from training.cli import main  # imported by the server

    sys.exit(main(list(arguments)))


class WarmProcess:
    """`vae-train` with these arguments, with the methods of `subprocess.Popen` that are needed."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], said: IO[bytes]) -> None:
        _WARM.set_forkserver_preload(["training.commands.fit"])
        said_path = f"/proc/{os.getpid()}/fd/{said.fileno()}"
        self._process = _WARM.Process(
            target=_run, args=(arguments, dict(environment), said_path), daemon=True
        )
        main = sys.modules["__main__"]
        with pytest.MonkeyPatch.context() as patch:  # else the process would import pytest
            patch.setattr(main, "__spec__", None)
            patch.delattr(main, "__file__", raising=False)
            self._process.start()
        self.pid = int(self._process.pid or 0)
        self.stdin: IO[bytes] | None = None

    def poll(self) -> int | None:
        """The exit code, or None."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one."""
        self._process.join(timeout)
        assert self._process.exitcode is not None
        return self._process.exitcode


def start_warm(command: Sequence[str], environment: Mapping[str, str], said: IO[bytes]) -> WarmProcess:
    """In place of `training.compute.processes.start_process`."""
    assert list(command[:2]) == ["-m", "training.cli"]
    return WarmProcess(command[2:], environment, said)
