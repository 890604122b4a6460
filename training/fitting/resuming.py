"""A run that goes on: what may differ from its start, and what the schedules then do.

Knows configurations, steps and Lightning's schedulers. Knows nothing of files or commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from training.config.recipe import RunConfig
from training.errors import RunDirectoryError
from training.fitting.schedules import learning_rate_fraction

#: How long to train, when to look, what to measure at the end. All else decided the present weights.
MAY_CHANGE = (
    "trainer.epochs",
    "trainer.early_stopping_epochs",
    "trainer.checkpoint_minutes",
    "trainer.pictures_every_epochs",
    "evaluation.importance_samples",
    "evaluation.importance_images",
)


@dataclass(frozen=True)
class Change:
    """One key that is not what it was."""

    key: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {self.before!r} and is {self.now!r} now"


def changes(before: RunConfig, now: RunConfig) -> tuple[Change, ...]:
    """The keys that differ, words that change no run left out."""
    then, given = (dict(_flat(config.decisive().model_dump(mode="json"))) for config in (before, now))
    keys = dict.fromkeys([*then, *given])
    return tuple(
        Change(key, then.get(key), given.get(key)) for key in keys if then.get(key) != given.get(key)
    )


def carried_over(found: tuple[Change, ...], onto: RunConfig) -> RunConfig:
    """A configuration with keys of another: what was asked for after a run was begun anew with a remedy."""
    given = onto.model_dump()
    for change in found:
        *sections, name = change.key.split(".")
        place = given
        for section in sections:
            place = place[section]
        place[name] = change.now
    return RunConfig.model_validate(given)


def check_changes(found: tuple[Change, ...], config: RunConfig, *, epochs_begun: int, where: object) -> None:
    """Refuse what a run that goes on cannot change.

    Raises:
        RunDirectoryError: A key that decided the weights differs, or the run has begun more epochs.
    """
    refused = [change for change in found if change.key not in MAY_CHANGE]
    if refused:
        raise RunDirectoryError(
            f"{where}: expected the configuration the run was started with, but "
            f"{', '.join(map(str, refused[:5]))}{' and more' if len(refused) > 5 else ''}. The weights and "
            f"the state of the optimiser depend on it; with --resume, only {', '.join(MAY_CHANGE)} may "
            "change. Leave it as it was, or start a new run in another --out."
        )
    if config.trainer.epochs < epochs_begun:
        raise RunDirectoryError(
            f"{where}: expected trainer.epochs of at least {epochs_begun}, the number that the run has "
            f"begun, got {config.trainer.epochs}. Weights cannot be trained less; start a new run in another "
            "--out."
        )


def schedule_note(before: RunConfig, now: RunConfig, *, step: int, steps_per_epoch: int) -> str:
    """What the schedules do from this step on; empty where the number of epochs is as it was."""
    if before.trainer.epochs == now.trainer.epochs:
        return ""
    old, new = (
        learning_rate_fraction(config.optimiser, step, total=config.trainer.epochs * steps_per_epoch)
        for config in (before, now)
    )
    note = (
        f"note: from step {step} on, the schedules are those of a run of {now.trainer.epochs} epochs: the "
        f"learning rate, at {old:.3g} of its highest value, goes on at {new:.3g} of it"
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
    """Starts with the learning rate that the schedule gives for the step, not with that of the checkpoint.

    They differ where the number of epochs changed: a finished run ends at its lowest learning rate, with
    which the first step would be wasted. Where nothing changed, both have the same bits.
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
