"""Environments with a client of someone else each, made once and kept in `.venv-clients`.

Knows pip and virtual environments. Knows nothing of what the clients do. A client brings its own versions of
grpcio and protobuf, and two of them clash in one process.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ROOT: Final = Path(os.environ.get("CLIENT_ENVS", REPOSITORY / ".venv-clients"))
#: What each needs, pinned: a new release of a client is tested when the pin is raised.
REQUIREMENTS: Final = {
    "triton": ("tritonclient[http,grpc]==2.73.0",),
    "kserve": ("kserve==0.21.0",),
    "protoc": ("grpcio-tools>=1.84",),
}
_INSTALL_S: Final = 900


@dataclass(frozen=True)
class ClientEnvironment:
    """One environment."""

    python: Path

    def run(self, script: Path, *arguments: str, timeout_s: float = 300.0, code: str | None = None) -> Any:
        """What a script prints, as JSON.

        Raises:
            AssertionError: It failed; the message has its output.
        """
        done = subprocess.run(
            [str(self.python), *(("-c", code) if code else (str(script),)), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"},
        )
        assert done.returncode == 0, f"{script.name}: {done.stdout[-3000:]}{done.stderr[-6000:]}"
        return json.loads(done.stdout.splitlines()[-1])


def client_environment(name: str) -> ClientEnvironment:
    """The environment of a client, installed at its first use."""
    wanted = "\n".join(REQUIREMENTS[name])
    home = ROOT / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = home / "installed.txt"
        if not (mark.exists() and mark.read_text() == wanted):
            python = home / "bin/python"
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=_INSTALL_S)
            subprocess.run(
                [
                    str(python),
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "-q",
                    "install",
                    *REQUIREMENTS[name],
                ],
                check=True,
                timeout=_INSTALL_S,
            )
            mark.write_text(wanted)
    return ClientEnvironment(home / "bin/python")
