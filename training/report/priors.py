"""What new images are drawn from: named densities over z, for samples in reports.

Knows codes and noise. Knows nothing of decoders, judges or files. Noise is seeded here and is not that of the
service's `/sample`, which draws each row from a generator of its own: figures over thousands of samples
agree, single images do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Int64

from training.report.workbench import Workbench


@runtime_checkable
class SamplePrior(Protocol):
    """A density over z to draw from."""

    @property
    def name(self) -> str:
        """As `/sample?prior=` would call it."""

    @property
    def about(self) -> str:
        """What it is, in words."""

    @property
    def labelled(self) -> bool:
        """Whether it can be asked for a label."""

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """`rows` of z; of these labels, one for each row, where it is `labelled`, otherwise of None."""


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, I), the prior that a VAE is trained with."""

    latent_size: int
    name: str = "standard"
    about: str = "N(0, I), the prior of training"
    labelled: bool = False

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """The noise itself."""
        assert labels is None
        return torch.randn(rows, self.latent_size, generator=generator, dtype=torch.float64).numpy()


@dataclass(frozen=True, eq=False)
class GaussianOfCodes:
    """The Gaussian with the mean and covariance of an autoencoder's codes.

    An autoencoder has no prior. This is the best of the densities that N(0, I) could be moved and stretched
    into, so nothing is held against it but the shape of what it learned.
    """

    mean: Float64[np.ndarray, " latent"]
    root: Float64[np.ndarray, "latent latent"]
    """Symmetric root of the covariance."""
    name: str = "gaussian-of-codes"
    about: str = (
        "the Gaussian with the mean and covariance of the training codes: an autoencoder has no prior"
    )
    labelled: bool = False

    @classmethod
    def fit(cls, codes: Float64[np.ndarray, "n latent"]) -> GaussianOfCodes:
        """From codes of training images."""
        mean = codes.mean(axis=0)
        centred = codes - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(codes))
        return cls(mean=mean, root=(vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """mean + root · eps."""
        assert labels is None
        eps = torch.randn(rows, len(self.mean), generator=generator, dtype=torch.float64).numpy()
        return np.asarray(self.mean + eps @ self.root)


def priors_of(bench: Workbench) -> tuple[SamplePrior, ...]:
    """Every density that samples are drawn from; the first is the one that models are compared by."""
    if bench.model.kind == "ae":
        return (GaussianOfCodes.fit(bench.train_mu),)
    return (StandardNormal(bench.model.latent_size),)
