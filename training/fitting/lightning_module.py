"""The Lightning module: one training step, one validation step, one optimiser.

Knows the model, the objective and the schedules. Knows nothing of files, images on disk or checkpoints. All
noise comes from generators seeded by (seed, step), never from a global one. If several processes share a
batch, each draws the noise of the whole batch, so that a step does not depend on their number.
"""

# ruff: noqa: ARG002 # Lightning determines the arguments of its hooks

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from training.compute.processes import summed_over_processes
from training.config.model_section import LearnedPriorConfig
from training.config.recipe import RunConfig
from training.data import distort, observe, to_unit_interval
from training.errors import NonFiniteTraining
from training.fitting.optimisers import MuonWithAdamW
from training.fitting.schedules import learning_rate_fraction
from training.models import LatentImageModel, LearnedPrior
from training.objectives.elbo import beta_at, elbo_terms
from training.randomness.noise import WHOLE, Share, SharedGenerator, uniform
from training.randomness.seeding import generator_for


class FittingModule(LightningModule):
    """The model, and the loss of a batch of uint8 images in nats per image."""

    def __init__(
        self,
        model: LatentImageModel,
        config: RunConfig,
        *,
        steps_per_epoch: int,
        share: Share = WHOLE,
    ) -> None:
        """`share` is this process's part of every batch."""
        super().__init__()
        self.model = model
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.share = share

    @property
    def _steps(self) -> int:
        """Number of steps in the whole training."""
        return self.config.trainer.epochs * self.steps_per_epoch

    def beta(self, step: int) -> float:
        """Weight of the KL term at a step counted from 0."""
        objective = self.config.objective
        return beta_at(
            step, beta=objective.beta, warmup_steps=objective.beta_warmup_epochs * self.steps_per_epoch
        )

    def samples(self, step: int) -> int:
        """Posterior samples of each image at a step counted from 0."""
        objective = self.config.objective
        return objective.importance_samples if step >= (1.0 - objective.importance_part) * self._steps else 1

    def training_step(
        self, batch: Tensor | tuple[Tensor, Tensor], batch_index: int
    ) -> dict[str, Tensor | int]:
        """Observe → encode → sample → decode → cost. `batch` is images, or images and labels.

        `loss` belongs to this process's share, and Lightning averages its gradient; the other figures belong
        to the batch.
        """
        images, labels = (batch, None) if isinstance(batch, Tensor) else batch
        step = self.trainer.global_step
        grey = self._distorted(to_unit_interval(images), step)
        x = observe(grey, self.config.data.binarisation, self._noise("binarisation", step))
        terms = elbo_terms(
            self.model,
            x,
            seen=self._partly_grey(x, grey, step),
            beta=self.beta(step),
            samples=self.samples(step),
            labels=labels,
            label_weight=self._label_weight,
            generator=self._noise("posterior", step),
        )
        costs = torch.stack([terms.loss, terms.reconstruction_nll.mean(), terms.kl.mean()]).detach()
        # Equal shares: the mean of their means. All processes see the same value, so all decide alike.
        loss, reconstruction_nll, kl = summed_over_processes(costs) / self.share.count
        if not torch.isfinite(loss):
            raise NonFiniteTraining(
                f"step {step}, epoch {self.trainer.current_epoch}: expected a finite loss, got "
                f"{loss.item()}. The last checkpoint is kept. Start a new run with a lower "
                "optimiser.learning_rate or optimiser.gradient_clip_norm."
            )
        self.log("loss", loss, prog_bar=True, logger=False)
        return {
            "loss": terms.loss,
            "images": self.share.count * len(x),
            "reconstruction_nll": reconstruction_nll,
            "kl": kl,
        }

    @property
    def _label_weight(self) -> float:
        prior = self.config.model.prior
        return prior.label_weight if isinstance(prior, LearnedPriorConfig) else 0.0

    def _noise(self, use: str, step: int) -> SharedGenerator:
        return SharedGenerator(generator_for(self.config.trainer.seed, use, step), self.share)

    def _distorted(self, grey: Tensor, step: int) -> Tensor:
        """The images; in the first part of the training, `data.distorted_fraction` of them are distorted."""
        chosen = self.config.data
        if chosen.distorted_fraction == 0.0 or step >= chosen.distorted_part * self._steps:
            return grey
        return distort(
            grey,
            fraction=chosen.distorted_fraction,
            strength=chosen.distortion,
            generator=self._noise("distortion", step),
        )

    def _partly_grey(self, x: Tensor, grey: Tensor, step: int) -> Tensor:
        """The encoder's input: `x`, with `data.grey_fraction` of the images left grey."""
        fraction = self.config.data.grey_fraction
        if fraction == 0.0:
            return x
        draw = uniform([len(x)], self._noise("grey", step), device=x.device)
        return torch.where((draw < fraction).view(-1, 1, 1, 1), grey, x)

    def validation_step(self, images: Tensor, batch_index: int) -> dict[str, Tensor | int]:
        """The ELBO itself (β = 1), with the same binarisation and noise in every epoch.

        Several processes take turns: a batch that another process measures counts for no images here.
        """
        if batch_index % self.share.count != self.share.index:
            return {"images": 0, "reconstruction_nll": torch.zeros(()), "kl": torch.zeros(())}
        seed = self.config.evaluation.seed
        x = observe(
            to_unit_interval(images),
            self.config.data.binarisation,
            generator_for(seed, "binarisation", batch_index),
        )
        terms = elbo_terms(self.model, x, generator=generator_for(seed, "posterior", batch_index))
        return {
            "images": len(x),
            "reconstruction_nll": terms.reconstruction_nll.mean(),
            "kl": terms.kl.mean(),
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimiser, with a linear warm-up and a cosine that ends at the last step."""
        optimiser = self._optimiser()
        # A plain function, because torch stores the attributes of any other callable in the checkpoint.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: self._learning_rate_fraction(step),  # noqa: PLW0108
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimiser(self) -> torch.optim.Optimizer:
        chosen = self.config.optimiser
        hidden = self._hidden_matrices() if chosen.name == "muon" else []
        by_muon = {id(p) for p in hidden}
        # The Gaussians of a learned prior are no layers: weight decay would widen them.
        gaussians = _gaussians(self.model)
        matrices = [p for p in self.parameters() if p.ndim >= 2 and id(p) not in by_muon | gaussians]
        rest = [p for p in self.parameters() if p.ndim < 2 or id(p) in gaussians]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": chosen.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        betas = (0.9, chosen.beta2)
        if chosen.name == "adamw":
            return torch.optim.AdamW(groups, lr=chosen.learning_rate, betas=betas)
        return MuonWithAdamW(
            matrices=hidden,
            adamw=groups,
            lr=chosen.learning_rate,
            matrix_lr=chosen.muon_learning_rate,
            betas=betas,
            matrix_weight_decay=chosen.muon_weight_decay,
        )

    def _hidden_matrices(self) -> list[nn.Parameter]:
        """Matrices and kernels, except those of the layers that output the posterior and the pixels."""
        hidden: list[nn.Parameter] = []
        for network in (self.model.encoder, self.model.decoder):
            *inner, _last = [p for p in network.parameters() if p.ndim >= 2]
            hidden += inner
        return hidden

    def _learning_rate_fraction(self, step: int) -> float:
        return learning_rate_fraction(self.config.optimiser, step, total=self._steps)


def _gaussians(model: LatentImageModel) -> set[int]:
    """Identities of the parameters of a learned prior's mixture."""
    prior = model.prior
    return {id(p) for p in prior.mixture.parameters()} if isinstance(prior, LearnedPrior) else set()


def averaged_model(module: nn.Module) -> LatentImageModel:
    """The model inside a `FittingModule`, or inside Lightning's average of one."""
    inner = module.get_submodule("model")
    assert isinstance(inner, LatentImageModel)
    return inner
