"""The library that made a model: found at run time, and never a dependency of this package.

Knows names of packages and how to install one. Knows nothing of models.
"""

from __future__ import annotations

import importlib
import os
from importlib import metadata
from types import ModuleType

from training.errors import MissingLibrary


def load_library(name: str, module: str) -> ModuleType:
    """A module of a library; importing it reaches no network.

    Args:
        name: Name of the distribution, which is also that of its package.
        module: The module to import, such as `pythae.models`.

    Raises:
        MissingLibrary: It is not installed, or fails to import.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (name, module):
            raise MissingLibrary(
                f"import: expected the library {name}, which made the model, found none. It is no part of "
                f"this package: install it next to the trainer with `python -m pip install {name}`."
            ) from error
        raise _broken(name, error) from error
    # Libraries that import late wrap the reason in a RuntimeError.
    except (ImportError, RuntimeError, AttributeError) as error:
        raise _broken(name, error) from error


def version_of(name: str) -> str:
    """Version of an installed distribution; "of unknown version" if its metadata is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _broken(name: str, error: Exception) -> MissingLibrary:
    reason = " ".join(str(error).split())[:300]
    return MissingLibrary(
        f"import: expected the library {name} {version_of(name)} to import, got {type(error).__name__}: "
        f"{reason}. Install it again with what it needs: `python -m pip install --upgrade {name}`."
    )
