"""The directory for downloads and unpacked images. Knows the environment; knows nothing of their contents."""

from __future__ import annotations

import os
from pathlib import Path

from training.errors import DataError


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/vae-service`, or `~/.cache/vae-service`.

    Raises:
        DataError: The user has no home, such as an arbitrary uid of a container.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            raise DataError(
                f"cache: expected a directory for it, but user {os.getuid()} has no home and HOME is unset. "
                "Name a writable directory with XDG_CACHE_HOME."
            ) from None
    return base / "vae-service"
