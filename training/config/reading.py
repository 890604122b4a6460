"""Reads a recipe: a TOML file of the package or of the user, with the values that `--set` replaces."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model_store.echo import did_you_mean, echo
from training.config.messages import explain
from training.config.recipe import RunConfig
from training.errors import ConfigError

#: Keys that select the other keys of their section.
SWITCHES = ("model.trunk.type", "model.likelihood.name", "model.prior.name")


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = resources.files("training").joinpath("recipes")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_recipe(name_or_path: str | Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a recipe of the package, by name, or any TOML file, by path.

    Args:
        name_or_path: `quick`, or `my/recipe.toml`; any text that ends in `.toml` is a path.
        overrides: `section.key=value` pairs that replace the recipe's, with values in TOML syntax; a bare
            word is a string. A new kind of trunk or likelihood drops the recipe's keys of the old kind, and
            the new kind's other keys have their defaults.

    Raises:
        ConfigError: The recipe does not exist, is not TOML, or has an invalid key or value.
    """
    where, text = _read_recipe(str(name_or_path))
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: expected TOML, got a syntax error: {error}.") from error
    if overrides:
        where = f"{where} with --set"
        # The expected figures belong to the unchanged recipe, not to a changed one.
        raw.pop("expect", None)
    for override in overrides:
        _switch(raw, override)
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, where=where)


def with_overrides(config: RunConfig, overrides: Sequence[str], *, where: str) -> RunConfig:
    """The same configuration with some values replaced, as by `load_recipe`.

    Raises:
        ConfigError: A key or value is invalid.
    """
    raw = config.model_copy(update={"expect": None}).model_dump(mode="json")
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, where=f"{where} with --set")


def parse_config(raw: Mapping[str, Any], *, where: str) -> RunConfig:
    """Validate a nested mapping from TOML.

    Raises:
        ConfigError: A key or value is invalid; the message contains up to ten reasons.
    """
    try:
        # Through JSON: its strict mode accepts an array for a tuple, and coerces nothing else.
        return RunConfig.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, where=where)) from error


def _read_recipe(name_or_path: str) -> tuple[str, str]:
    if name_or_path.endswith(".toml"):
        try:
            return name_or_path, Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name_or_path}: expected a readable TOML file, got: {error}.") from error
    if name_or_path not in recipe_names():
        hint = did_you_mean(name_or_path, recipe_names())
        raise ConfigError(
            f"--recipe: {echo(name_or_path)}: no such recipe. Expected one of "
            f"{', '.join(recipe_names())}, or a path that ends in .toml. {hint}".rstrip()
        )
    file = resources.files("training").joinpath("recipes", f"{name_or_path}.toml")
    return f"recipes/{name_or_path}.toml", file.read_text(encoding="utf-8")


def _switch(raw: dict[str, Any], override: str) -> None:
    """Empty a section of the recipe if `--set` selects another kind, which does not have its keys."""
    path, equals, text = override.partition("=")
    if not equals or path.strip() not in SWITCHES:
        return
    *outer, name, key = path.strip().split(".")
    for part in outer:
        raw = raw.get(part, {})
        if not isinstance(raw, dict):
            return  # the application of the override reports the reason
    section = raw.get(name)
    if isinstance(section, dict) and section.get(key) != text.strip().strip("\"'"):
        raw[name] = {}


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for key in keys[:-1]:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set: {override!r} sets a key inside {key!r}, which is a value and not a section."
            )
        raw = inner
    raw[keys[-1]] = value
