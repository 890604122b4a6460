"""Commands that run in namespaces of their own, as in a container, and under a user's limit of processes.

Knows unshare, setpriv and prlimit. Knows nothing of what is run.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def unshared(*flags: str) -> list[str]:
    """The beginning of a command line that runs in new namespaces; ends when the test kills it.

    As root a refusal is a failure. Another user needs user namespaces, and where the system forbids those the
    test is skipped.
    """
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    prefix = ["unshare", *as_root, "--fork", "--kill-child", *flags]
    refusal = _refusal(tuple(prefix))
    if refusal is not None:
        assert os.geteuid() != 0, refusal
        pytest.skip(f"no namespaces for this user: {refusal}")
    return prefix


def as_process_1() -> list[str]:
    """The beginning of a command line whose program is process 1 of its own PID namespace."""
    return unshared("--pid", "--mount-proc")


def with_few_processes(most: int) -> list[str]:
    """The beginning of a command line of a user who has nothing else and may have `most` threads."""
    if os.geteuid() != 0:
        pytest.skip("a limit of processes counts all that a user has; only root can be another user")
    user = str(200_000 + os.getpid() % 100_000)
    # Root's files may be closed to others, Python itself among them.
    reads = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return ["prlimit", f"--nproc={most}", "setpriv", "--reuid", user, "--clear-groups", *reads]


def child_of(process: subprocess.Popen[bytes]) -> int:
    """The process id, seen from here, of the program that `unshare --fork` started."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@functools.cache
def _refusal(prefix: Sequence[str]) -> str | None:
    done = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False, timeout=60)
    return None if done.returncode == 0 else done.stderr.strip()
