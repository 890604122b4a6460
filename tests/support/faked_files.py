"""Files with the content that a test gives them, such as those of a faked /proc or cgroup.

Knows names and texts. Knows nothing of what reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def written(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files below a directory, by their relative paths, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
