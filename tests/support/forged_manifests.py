"""Manifests that fit changed files: the work of a forger, whom digests do not stop.

Knows the seal of a manifest. Knows nothing of what a test changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from model_store.integrity import seal


def restated(folder: Path, **changes: Any) -> None:
    """Write the manifest of what lies there now, digests included, with these keys replaced."""
    document = {**json.loads((folder / "manifest.json").read_bytes()), **changes}
    for name in document["files"]:
        data = (folder / name).read_bytes()
        document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    document["manifest_sha256"] = "0" * 64
    (folder / "manifest.json").write_bytes(seal(json.dumps(document).encode()))
