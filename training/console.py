"""What a run says to the person who started it: a line an epoch, and a warning that must not be missed.

Knows rows of the log and words. Knows nothing of how they are shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from model_store.numbers import told_apart
from training.callbacks import Row
from training.config import RunConfig
from training.evaluation import COLLAPSED_KL_NATS


@dataclass(frozen=True)
class Console:
    """Where a run talks to the person who started it."""

    say: Callable[[str], None]
    progress_bar: bool
    """A live bar, for a terminal; otherwise one line per epoch."""


def announcer(config: RunConfig, console: Console) -> Callable[[Row], None]:
    """Says one line per epoch, and warns once when the posterior has collapsed."""
    started = time.monotonic()
    warned = False

    def announce(row: Row) -> None:
        nonlocal warned
        costs = _costs_of_vae(row) if config.model.kind == "vae" else _costs_of_autoencoder(row)
        console.say(
            f"epoch {row['epoch']}/{config.trainer.epochs}  {costs}  {time.monotonic() - started:.0f} s"
        )
        if not warned and _collapsed(config, row):
            warned = True
            console.say(_collapse_warning(row))

    return announce


def _costs_of_vae(row: Row) -> str:
    return (
        f"-ELBO train {row['train_negative_elbo']:.2f}  validation {row['validation_negative_elbo']:.2f} "
        f"(reconstruction {row['validation_reconstruction_nll']:.2f} + KL {row['validation_kl']:.2f})  "
        f"beta {row['beta']:.2f}"
    )


def _costs_of_autoencoder(row: Row) -> str:
    """Without a prior there is no bound to speak of."""
    return (
        f"reconstruction train {row['train_reconstruction_nll']:.2f}  "
        f"validation {row['validation_reconstruction_nll']:.2f}"
    )


def _collapsed(config: RunConfig, row: Row) -> bool:
    """A VAE whose KL is below a nat although its weight has reached full height."""
    return (
        config.model.kind == "vae"
        and row["beta"] >= config.objective.beta
        and row["validation_kl"] < COLLAPSED_KL_NATS
    )


def _collapse_warning(row: Row) -> str:
    kl = told_apart(row["validation_kl"], COLLAPSED_KL_NATS, digits=3)
    return (
        f"warning: the posterior has collapsed: KL {kl} nats per image, expected "
        f"at least {COLLAPSED_KL_NATS:g}. The latents say nothing about the image. Lower objective.beta or "
        "raise objective.beta_warmup_epochs."
    )
