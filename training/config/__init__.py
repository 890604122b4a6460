"""The configuration of a run: recipes in TOML, and error messages that name the key.

A name is imported on first use, so that `fit --help` lists the recipes without pydantic.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from training.config.reading import load_recipe
    from training.config.recipe import RunConfig
    from training.config.sections import DataConfig

__all__ = ["DataConfig", "RunConfig", "load_recipe"]
_MODULES = {"DataConfig": "sections", "RunConfig": "recipe", "load_recipe": "reading"}


def __getattr__(name: str) -> object:
    """The public name, from the module that has it."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
