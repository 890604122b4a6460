"""Resumed runs: the settings that may change, and the schedules afterwards.

Knows configurations, steps and Lightning's schedulers. Knows nothing of files or commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from model_store.echo import listed
from training.config.recipe import RunConfig
from training.errors import RunDirectoryError
from training.fitting.schedules import learning_rate_fraction

#: Length, intervals, final measurements, and draws of labels. All other settings determined the present
#: weights.
MAY_CHANGE = (
    "trainer.epochs",
    "trainer.early_stopping_epochs",
    "trainer.checkpoint_minutes",
    "trainer.pictures_every_epochs",
    "evaluation.importance_samples",
    "evaluation.importance_images",
    "model.prior.label_candidates",
    "model.prior.label_probability",
)


@dataclass(frozen=True)
class Change:
    """One key with a changed value."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {self.before!r} and is {self.now!r} now"


def changes(before: RunConfig, now: RunConfig) -> tuple[Change, ...]:
    """The keys that differ, except texts that change no run."""
    then, given = (dict(_flat(config.decisive().model_dump(mode="json"))) for config in (before, now))
    keys = dict.fromkeys([*then, *given])
    return tuple(
        Change(key, then.get(key), given.get(key)) for key in keys if then.get(key) != given.get(key)
    )


def carried_over(found: tuple[Change, ...], onto: RunConfig) -> RunConfig:
    """A configuration with some keys of another, for a resumed run that was restarted with a remedy."""
    given = onto.model_dump()
    for change in found:
        *sections, name = change.key.split(".")
        place = given
        for section in sections:
            place = place[section]
        place[name] = change.now
    return RunConfig.model_validate(given)


def check_changes(found: tuple[Change, ...], config: RunConfig, *, epochs_begun: int, where: object) -> None:
    """Reject changes that a resumed run cannot make.

    Raises:
        RunDirectoryError: A key that determined the weights differs, or the run has begun more epochs.
    """
    refused = [str(change) for change in found if change.key not in MAY_CHANGE]
    if refused:
        raise RunDirectoryError(
            f"{where}: expected the configuration of the run's start, but "
            f"{listed(refused, most=5)}. The weights and the state of the optimiser depend on it; "
            f"with --resume, only {', '.join(MAY_CHANGE)} may change. Keep the old value, or start a new run "
            "in another --out."
        )
    if config.trainer.epochs < epochs_begun:
        raise RunDirectoryError(
            f"{where}: expected trainer.epochs of at least {epochs_begun}, the number of epochs that the "
            f"run has begun, got {config.trainer.epochs}. Training cannot be undone; start a new run in "
            "another --out."
        )


def schedule_note(before: RunConfig, now: RunConfig, *, step: int, steps_per_epoch: int) -> str:
    """The schedules from this step on, in words; empty if the number of epochs is unchanged."""
    if before.trainer.epochs == now.trainer.epochs:
        return ""
    old, new = (
        learning_rate_fraction(config.optimiser, step, total=config.trainer.epochs * steps_per_epoch)
        for config in (before, now)
    )
    note = (
        f"note: from step {step} on, the schedules are those of a run of {now.trainer.epochs} epochs: the "
        f"learning rate, at {old:.3g} of its highest value, continues at {new:.3g} of it"
    )
    parts = [
        key
        for key, used in (
            ("objective.importance_part", now.objective.importance_samples > 1),
            ("data.distorted_part", now.data.distorted_fraction > 0.0),
        )
        if used
    ]
    return f"{note}; {' and '.join(parts)} count of these epochs" if parts else note


class ScheduleOfThisRun(Callback):
    """Starts with the scheduled learning rate of the step, not with that of the checkpoint.

    They differ if the number of epochs changed: a finished run ends at its lowest learning rate, which would
    waste the first step. Without a change, both have the same bits.
    """

    def on_train_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  # Lightning decides what its hooks are given
    ) -> None:
        """Set the learning rate of each group."""
        for each in trainer.lr_scheduler_configs:
            schedule: Any = each.scheduler
            groups = schedule.optimizer.param_groups
            for group, highest, fraction in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
                group["lr"] = highest * fraction(schedule.last_epoch)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
