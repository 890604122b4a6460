"""That a run was begun anew after a collapse: why, and what it did differently.

Knows the two configurations. Knows nothing of training or where the file lies.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from training.config.recipe import RunConfig


class Restart(BaseModel):
    """What `restart.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int
    """Passes over the images until the collapse was seen."""
    because: str
    """The objection, as it was told."""
    changes: tuple[str, ...]
    """Values of the recipe that were replaced, each as `--set` takes it."""
    asked: RunConfig
    """The configuration that the run was started with; `config.json` holds the one that it goes on with."""

    def __str__(self) -> str:
        return (
            f"begun anew after {self.epochs} epochs, since it had collapsed, with {', '.join(self.changes)}"
        )
