"""The programs of `make deploy-tools`: helm, kubectl, kubernetes-validate, KServe's libraries, nginx.

Knows where they are installed. Knows nothing of what is tested with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ENVIRONMENT: Final = REPOSITORY / ".venv-deploy"
_BINARIES: Final = ENVIRONMENT / "bin"
_LIMIT_S: Final = 300

needs_deploy_tools = pytest.mark.skipif(
    not (ENVIRONMENT / ".installed").exists(), reason="needs the tools of deploy/ (make deploy-tools)"
)


def program(name: str) -> str:
    """The path of a program of the environment."""
    path = _BINARIES / name
    assert path.exists(), f"{path}: not there; run `make deploy-tools` again"
    return str(path)


def output_of(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a program that must succeed."""
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def newest_nginx() -> str | None:
    """nginx of the environment, which finds servers by name, or else the system's."""
    own = _BINARIES / "nginx"
    return str(own) if own.exists() else shutil.which("nginx")
