"""Plots of a run while it trains: reconstructions, samples, curves.

Knows the model's interface, the run directory and the plots. Knows nothing of objectives.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from training.data import ImageSet, to_unit_interval
from training.fitting.ema import weights_to_keep
from training.models import LatentImageModel
from training.randomness.seeding import generator_for
from training.runs.run_directory import RunDirectory

_PAIRS = 32
_SAMPLES = 64


class Pictures(Callback):
    """Redraws `reconstructions.png`, `samples.png` and `curves.png` every few epochs.

    The same images and the same z every time, so that two plots differ only through the weights.
    """

    def __init__(
        self,
        directory: RunDirectory,
        validation: ImageSet,
        *,
        every_epochs: int,
        epochs: int,
        seed: int,
    ) -> None:
        """Every `every_epochs`, and after the last of `epochs` or of a run that stops early.

        `seed` is the seed of the samples' z.
        """
        self._directory = directory
        # Spread over the whole set, because class folders list images class by class.
        spread = torch.linspace(0, len(validation) - 1, min(_PAIRS, len(validation))).long()
        self._x = to_unit_interval(validation.images[spread])
        self._every_epochs = every_epochs
        self._epochs = epochs
        self._seed = seed

    def on_train_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  # Lightning decides what its hooks are given
    ) -> None:
        """Draw if the epoch is due, the last, or the last before a stop."""
        done = trainer.current_epoch + 1
        if done % self._every_epochs == 0 or done == self._epochs or trainer.should_stop:
            self.draw(weights_to_keep(trainer))

    @torch.inference_mode()
    def draw(self, model: LatentImageModel) -> None:
        """Write the three plots; an autoencoder has no prior, and so no samples."""
        # Imported here: matplotlib takes a second to load, and a failed start should not wait for it.
        from training.plots import grids  # noqa: PLC0415

        device = next(model.parameters()).device
        x_hat = model.decode(model.encode(self._x.to(device)).mu).cpu()
        grids.reconstruction_grid(self._directory.reconstructions, self._x, x_hat)
        if model.kind == "vae":
            z = model.prior.draw(_SAMPLES, generator_for(self._seed, "pictures"))
            grids.sample_grid(self._directory.samples, model.decode(z.to(device)).cpu())
        grids.curves(self._directory.curves, self._directory.log)
