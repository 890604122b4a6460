"""The record of a restart after a collapse: its reason, and the changed settings.

Knows the two configurations. Knows nothing of training or the location of the file.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from training.config.recipe import RunConfig


class Restart(BaseModel):
    """The contents of `restart.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int
    """Passes over the images until the collapse was detected."""
    because: str
    """The warning about the collapse."""
    changes: tuple[str, ...]
    """Changed values of the recipe, each in the syntax of `--set`."""
    asked: RunConfig
    """The configuration at the start of the run; `config.json` contains the one after the restart."""

    def __str__(self) -> str:
        return (
            f"restarted after {self.epochs} epochs, because it had collapsed, with {', '.join(self.changes)}"
        )
