"""A recipe that begins with another one: its parts, each a run in the folder `start` of the next.

Knows recipes and run directories. Knows nothing of training.

::

    runs/mnist                by mnist-prior, from the weights of
    runs/mnist/start          by mnist-further, from the weights of
    runs/mnist/start/start    by mnist
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.config.reading import load_recipe
from training.config.recipe import RunConfig
from training.errors import ConfigError
from training.runs.run_directory import RunDirectory

#: More are a mistake: a recipe that begins with itself.
_MOST_PARTS = 20


@dataclass(frozen=True)
class Part:
    """One run of a chain."""

    config: RunConfig
    directory: RunDirectory
    resume: bool

    @property
    def is_done(self) -> bool:
        """Whether it was trained and measured, so that the next one can begin."""
        return self.directory.evaluation.is_file()


def from_nothing(recipe: str, overrides: Sequence[str], *, start_from: str | None = None) -> RunConfig:
    """The recipe without its version to start from, which its first parts replace.

    Args:
        recipe: Name or path.
        overrides: As of `load_recipe`.
        start_from: The option `--start-from`, which contradicts this.

    Raises:
        ConfigError: The recipe begins with no other, or there is a version to start from.
    """
    if start_from is not None:
        raise ConfigError(
            f"--from-nothing: expected no --start-from with it, got {start_from}. Leave one of them out."
        )
    config = load_recipe(recipe, overrides=[*overrides, "trainer.start_from=''"])
    if not config.first_part:
        raise ConfigError(
            f"--from-nothing: expected a recipe with trainer.start_recipe, got {config.name}, which begins "
            "with random weights. Leave the option out."
        )
    return config


def parts_of(config: RunConfig, directory: RunDirectory) -> list[Part]:
    """The runs of a recipe, the first one first and that of `directory` last.

    A part continues where it stopped. All have the seed of the last one, and so hold back the same images.
    Parts before one with a checkpoint are no longer needed.

    Raises:
        ConfigError: A recipe does not exist, or begins with itself.
    """
    parts = [Part(config, directory, resume=directory.has_begun)]
    while (name := parts[0].config.first_part) and not parts[0].directory.checkpoint.is_file():
        if len(parts) == _MOST_PARTS:
            raise ConfigError(
                f"trainer.start_recipe: expected at most {_MOST_PARTS} recipes in a chain, got more. {name} "
                "seems to begin with itself."
            )
        before = RunDirectory(parts[0].directory.start)
        overrides = [f"trainer.seed={config.trainer.seed}"]
        if before.has_begun:
            found = before.read_config()
        else:
            found = load_recipe(name, overrides=overrides)
            if found.trainer.start_recipe:
                found = load_recipe(name, overrides=[*overrides, "trainer.start_from=''"])
        parts.insert(0, Part(found, before, resume=before.has_begun))
    return parts
