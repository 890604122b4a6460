"""The configuration of a run: recipes in TOML, and error messages that name the key."""

from training.config.reading import load_recipe, recipe_names
from training.config.recipe import RunConfig
from training.config.sections import DataConfig

__all__ = ["DataConfig", "RunConfig", "load_recipe", "recipe_names"]
