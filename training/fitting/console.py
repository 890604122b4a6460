"""Progress of a run for the person who started it: a line per epoch.

Knows rows of the log and words. Knows nothing of the display.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from training.config.recipe import RunConfig
from training.fitting.callbacks import Row


@dataclass(frozen=True)
class Console:
    """The output of a run for the person who started it."""

    say: Callable[[str], None]
    progress_bar: bool
    """A live bar, for a terminal; otherwise one line per epoch."""


def announcer(config: RunConfig, console: Console) -> Callable[[Row], None]:
    """Receives one line per epoch."""
    started = time.monotonic()

    def announce(row: Row) -> None:
        costs = _costs_of_vae(row) if config.model.kind == "vae" else _costs_of_autoencoder(row)
        console.say(
            f"epoch {row['epoch']}/{config.trainer.epochs}  {costs}  {time.monotonic() - started:.0f} s"
        )

    return announce


def _costs_of_vae(row: Row) -> str:
    return (
        f"-ELBO train {row['train_negative_elbo']:.2f}  validation {row['validation_negative_elbo']:.2f} "
        f"(reconstruction {row['validation_reconstruction_nll']:.2f} + KL {row['validation_kl']:.2f})  "
        f"beta {row['beta']:.2f}"
    )


def _costs_of_autoencoder(row: Row) -> str:
    """Without a prior there is no bound to report."""
    return (
        f"reconstruction train {row['train_reconstruction_nll']:.2f}  "
        f"validation {row['validation_reconstruction_nll']:.2f}"
    )
