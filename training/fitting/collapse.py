"""Posterior collapse during a run: detect it at the end of an epoch, report it, restart with a remedy.

Knows Lightning's hooks, lines of the epoch log and configurations. Knows nothing of files.
"""

# ruff: noqa: ARG002 # Lightning determines the arguments of its hooks

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from model_store.numbers import told_apart
from training.config.recipe import RunConfig
from training.data import ImageSet, to_unit_interval
from training.errors import PosteriorCollapse
from training.fitting.lightning_module import FittingModule
from training.objectives.posterior_collapse import (
    COLLAPSED_KL_NATS,
    STEPS_TO_LEARN,
    is_collapsed,
    reconstructs_the_mean_image,
)

OnCollapse = Literal["stop", "restart", "go-on"]

#: A KL that was above this and is below `COLLAPSED_KL_NATS` now was lost, for any weight of the KL term.
_WAS_USED_NATS: Final = 5.0
#: A run never ends before so many steps, or before a quarter of all.
_STEPS_TO_JUDGE: Final = 200
#: Number of validation images for the check of an autoencoder.
_ASKED: Final = 256


@dataclass(frozen=True)
class Remedy:
    """The changes of a restarted run."""

    config: RunConfig
    changes: tuple[str, ...]
    """Each in the syntax of `--set`."""


def remedy_for(config: RunConfig) -> Remedy:
    """Smaller learning rates, and a slow KL term: at most beta = 1, over a third of the epochs.

    Source:
        Sønderby et al. 2016, arXiv:1602.02282, section 2.2 (warm-up against latents that the model abandons
        early).
    """
    optimiser, objective = config.optimiser, config.objective
    warmup = max(objective.beta_warmup_epochs, round(config.trainer.epochs / 3.0, 2))
    changes = {"optimiser.learning_rate": optimiser.learning_rate / 4.0}
    if optimiser.name == "muon":
        changes["optimiser.muon_learning_rate"] = optimiser.muon_learning_rate / 4.0
    if config.model.kind == "vae":
        changes["objective.beta"] = min(1.0, objective.beta)
        changes["objective.beta_warmup_epochs"] = warmup
    given = config.model_dump()
    told = []
    for key, value in changes.items():
        section, name = key.split(".")
        if given[section][name] != value:
            given[section][name] = value
            told.append(f"{key}={value:g}")
    return Remedy(config=RunConfig.model_validate(given), changes=tuple(told))


class CollapseWatch(Callback):
    """Checks each epoch's figures; may end the training after the state of the epoch is saved.

    Warns once, and names the settings to change.
    """

    def __init__(
        self,
        validation: ImageSet,
        rows: Callable[[], Sequence[Mapping[str, float]]],
        *,
        say: Callable[[str], None],
        end_on_collapse: bool,
    ) -> None:
        """`rows` are the lines of the epoch log so far; the other arguments belong to this process alone."""
        self._images = validation.images[:_ASKED]
        self._rows = rows
        self._say = say
        self._end_on_collapse = end_on_collapse
        self._warned = False
        self._objection: str | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the figures of the epoch."""
        assert isinstance(pl_module, FittingModule)
        self._objection = self._judge(trainer, pl_module)
        if self._objection is not None and not self._warned:
            self._warned = True
            self._say(f"warning: {self._objection}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a collapsed run: the checkpoint of the epoch exists by now."""
        if self._end_on_collapse and self._objection is not None and self._has_learned_long_enough(trainer):
            raise PosteriorCollapse(self._objection, epochs=trainer.current_epoch)

    def _judge(self, trainer: Trainer, module: FittingModule) -> str | None:
        config, rows = module.config, self._rows()
        if config.model.kind == "ae":
            return self._judge_autoencoder(trainer, module)
        row = rows[-1]
        used = max(max(line["train_kl"], line["validation_kl"]) for line in rows) >= _WAS_USED_NATS
        weighed = row["beta"] >= config.objective.beta and trainer.global_step >= STEPS_TO_LEARN
        if not is_collapsed(row["validation_kl"]) or not (weighed or used):
            return None
        kl = told_apart(row["validation_kl"], COLLAPSED_KL_NATS, digits=3)
        return (
            f"the posterior has collapsed: KL {kl} nats per image, expected at least {COLLAPSED_KL_NATS:g}. "
            "The latents carry no information about the image. Lower objective.beta or "
            "optimiser.learning_rate, or raise objective.beta_warmup_epochs."
        )

    def _judge_autoencoder(self, trainer: Trainer, module: FittingModule) -> str | None:
        """A trained autoencoder returns different images for different images."""
        if not self._has_learned_long_enough(trainer):
            return None
        with torch.inference_mode():
            x = to_unit_interval(self._images.to(module.device))
            given_back = module.model.decode(module.model.encode(x).mu)
            rmse = (given_back - x).square().mean().sqrt().item()
            mean_image_rmse = (x - x.mean(dim=0)).square().mean().sqrt().item()
        alive = not reconstructs_the_mean_image(rmse=rmse, mean_image_rmse=mean_image_rmse)
        if alive or mean_image_rmse == 0.0:
            return None
        return (
            f"the autoencoder has collapsed: the error of reconstructions is {rmse:.4f}, and that of the "
            f"mean image {mean_image_rmse:.4f}. The decoder ignores the latents. Lower "
            "optimiser.learning_rate."
        )

    def _has_learned_long_enough(self, trainer: Trainer) -> bool:
        wanted = max(STEPS_TO_LEARN, min(_STEPS_TO_JUDGE, trainer.estimated_stepping_batches / 4))
        return trainer.global_step >= wanted

    def state_dict(self) -> dict[str, Any]:
        """Whether the run has warned."""
        return {"warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._warned = state_dict["warned"]
