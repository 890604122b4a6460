"""The recipes of the package in one line each, for `--help`.

Knows the two texts and the expected time of a recipe. Validates nothing, so that it needs no pydantic:
`reading.py` reads a recipe for a run.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class RecipeSummary:
    """A recipe, in the words of its author."""

    name: str
    purpose: str
    """The description up to its first colon or full stop."""
    minutes: float | None
    """Expected time of a run, on the author's machine."""


def recipe_summaries() -> tuple[RecipeSummary, ...]:
    """Every recipe of the package, by name."""
    folder = resources.files("training").joinpath("recipes")
    texts = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")]
    return tuple(sorted(map(_summary, map(tomllib.loads, texts)), key=lambda recipe: recipe.name))


def _summary(recipe: dict[str, object]) -> RecipeSummary:
    expect = recipe.get("expect")
    minutes = expect.get("minutes") if isinstance(expect, dict) else None
    purpose = re.split(r"[:.](?:\s|$)", str(recipe.get("description", "")))[0]
    return RecipeSummary(str(recipe["name"]), purpose, None if minutes is None else float(minutes))
