"""The places of the default model store: `VAE_MODEL_STORE`, or else the bundled store.

Knows paths and the environment. Knows nothing of models.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Environment variable for the store, instead of the bundled one.
STORE_VARIABLE = "VAE_MODEL_STORE"
#: The store inside the package.
BUNDLED_STORE = Path(__file__).parent / "models"
#: Its name in commands and records.
BUNDLED = "bundled"


def default_store_root() -> Path:
    """`VAE_MODEL_STORE` if it is set and not empty, otherwise the store of this package."""
    stated = os.environ.get(STORE_VARIABLE, "")
    return Path(stated) if stated else BUNDLED_STORE


def is_same_path(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same place, links included."""
    # Not Path.resolve, which raises for a link to itself.
    return os.path.realpath(one) == os.path.realpath(other)
