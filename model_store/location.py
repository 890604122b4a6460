"""The places of the default model store: `VAE_MODEL_STORE`, the user's own store, the bundled store.

Knows paths and the environment. Knows nothing of models. The bundled store belongs to the installed package,
which an upgrade replaces, so no command changes it by default: see `default_store.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Environment variable for the store, instead of the user's own and the bundled one.
STORE_VARIABLE = "VAE_MODEL_STORE"
#: The store inside the package.
BUNDLED_STORE = Path(__file__).parent / "models"
#: Its name in commands and records.
BUNDLED = "bundled"

_BELOW_DATA = Path("vae-service") / "models"


def own_store_root() -> Path | None:
    """The place of the user's own store, which may not exist yet.

    It is `vae-service/models` below `$XDG_DATA_HOME`, or else below `~/.local/share`. None for a user without
    a home, such as an arbitrary uid of a container.
    """
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # as the XDG specification demands
        try:
            data = Path.home() / ".local" / "share"
        except RuntimeError:
            return None
    return data / _BELOW_DATA if data.is_absolute() else None


def default_store_root() -> Path:
    """`VAE_MODEL_STORE` if it is set, else the user's own store if it exists, else the bundled one."""
    stated = os.environ.get(STORE_VARIABLE, "")
    return Path(stated) if stated else own_or_bundled_root()


def own_or_bundled_root() -> Path:
    """The user's own store if it exists, else the bundled one."""
    own = own_store_root()
    return own if own is not None and _is_directory(own) else BUNDLED_STORE


def is_same_path(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same place, links included."""
    # Not Path.resolve, which raises for a link to itself.
    return os.path.realpath(one) == os.path.realpath(other)


def _is_directory(path: Path) -> bool:
    """False also for a home that this user may not enter, such as that of `root` after `setpriv`."""
    try:
        return path.is_dir()
    except OSError:
        return False
