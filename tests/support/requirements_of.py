"""The requirements of a server with some extras, as the Dockerfile selects them.

    python tests/support/requirements_of.py openvino

Knows pyproject.toml and the one line of the Dockerfile that reads it, which it runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def requirements(*extras: str) -> list[str]:
    """Lines for pip."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    found = re.search(r'^RUN python -c "(.*?)" \\$', dockerfile, re.MULTILINE)
    if found is None:
        raise ValueError("Dockerfile: expected a line RUN python -c, which selects the requirements")
    done = subprocess.run(
        [sys.executable, "-c", found[1].replace("\\\\n", "\\n")],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "EXTRAS": " ".join(extras)},
    )
    return done.stdout.split("\n")[:-1]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(*sys.argv[1:])) + "\n")
