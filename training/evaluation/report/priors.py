"""The densities that new images are drawn from: named densities over z, for samples in reports.

Knows codes and noise; densities are in nats. Knows nothing of decoders, judges or files. Its noise differs
from that of the service's `/sample`, which draws each row from a generator of its own: figures over thousands
of samples agree, single images do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Int64

from model_store.prior import GaussianMixture
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.subject import Subject
from training.models import LabelledPrior
from training.priors.mixtures import gaussian_log_density, log_density, standard_normal_log_density

#: Smallest standard deviation, as a part of the largest, of a direction in which codes count as varying.
_FLAT = 1e-5


@runtime_checkable
class SamplePrior(Protocol):
    """A density over z to draw from."""

    @property
    def name(self) -> str:
        """Its name in `/sample?prior=`."""

    @property
    def title(self) -> str:
        """The name in a heading."""

    @property
    def about(self) -> str:
        """Its description."""

    @property
    def labelled(self) -> bool:
        """Whether it has a density for each label."""

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """`rows` of z, with these labels, one per row, if it is `labelled`; otherwise without labels."""

    def log_density(
        self, z: Float64[np.ndarray, "rows latent"], labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, " rows"] | None:
        """log p(z) of each row, given its label if it is `labelled`; None if it has no density."""


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, I), the prior that a VAE is trained with."""

    latent_size: int
    name: str = "standard"
    title: str = "the standard prior"
    about: str = "N(0, I), the prior of training"
    labelled: bool = False

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """The noise itself."""
        assert labels is None
        return torch.randn(rows, self.latent_size, generator=generator, dtype=torch.float64).numpy()

    def log_density(
        self, z: Float64[np.ndarray, "rows latent"], labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, " rows"] | None:
        """log N(z; 0, I)."""
        assert labels is None
        return standard_normal_log_density(z)


@dataclass(frozen=True, eq=False)
class GaussianOfCodes:
    """The Gaussian with the mean and covariance of an autoencoder's codes.

    An autoencoder has no prior. This is the best of all shifted and stretched N(0, I), so only the shape of
    the learned codes can count against it.
    """

    mean: Float64[np.ndarray, " latent"]
    root: Float64[np.ndarray, "latent latent"]
    """Symmetric root of the covariance."""
    name: str = "gaussian-of-codes"
    title: str = "the Gaussian of the codes"
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

    def log_density(
        self, z: Float64[np.ndarray, "rows latent"], labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, " rows"] | None:
        """log N(z; mean, root rootᵀ); None if the codes do not vary in some direction."""
        assert labels is None
        deviations = np.linalg.eigvalsh(self.root)
        if deviations[0] <= _FLAT * deviations[-1]:
            return None
        factor = np.linalg.cholesky(self.root @ self.root)
        return gaussian_log_density(z, self.mean, factor)


@dataclass(frozen=True, eq=False)
class FittedMixtures:
    """The mixtures of a `prior.npz`: that of all images, or one for each label."""

    mixtures: tuple[GaussianMixture, ...]
    """One, or in the order of the labels' numbers."""
    name: str
    about: str
    labelled: bool

    @property
    def title(self) -> str:
        """The name in a heading."""
        return "the fitted prior, by label" if self.labelled else "the fitted prior"

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """mean_c + cholesky_c · eps, c by the weights of the mixture."""
        latent = self.mixtures[0].means.shape[1]
        uniform = torch.rand(rows, generator=generator, dtype=torch.float64).numpy()
        eps = torch.randn(rows, latent, generator=generator, dtype=torch.float64).numpy()
        z = np.empty((rows, latent))
        for number, mixture in enumerate(self.mixtures):
            (mine,) = np.nonzero(labels == number) if labels is not None else (np.arange(rows),)
            chosen = np.searchsorted(np.cumsum(mixture.weights)[:-1], uniform[mine], side="right")
            moved = np.einsum("nij,nj->ni", mixture.cholesky[chosen].astype(np.float64), eps[mine])
            z[mine] = mixture.means[chosen] + moved
        return z

    def log_density(
        self, z: Float64[np.ndarray, "rows latent"], labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, " rows"] | None:
        """log Σ_c w_c N(z; mean_c, cholesky_c cholesky_cᵀ), of the mixture of the row's label."""
        if labels is None:
            return log_density(self.mixtures[0], z)
        density = np.empty(len(z))
        for number in np.unique(labels).tolist():
            density[labels == number] = log_density(self.mixtures[number], z[labels == number])
        return density


@dataclass(frozen=True, eq=False)
class LearnedDensity:
    """The prior that was learned with the model: that of all images, or one for each label."""

    prior: LabelledPrior
    order: tuple[int, ...] = ()
    """For each label's number, the prior's number for it; empty for all images."""

    @property
    def name(self) -> str:
        """Its name in `/sample?prior=`, with the labels."""
        return "learned-by-label" if self.labelled else "learned"

    @property
    def title(self) -> str:
        """The name in a heading."""
        return "the learned prior, by label" if self.labelled else "the learned prior"

    @property
    def about(self) -> str:
        """Its description."""
        if self.labelled:
            return "the learned priors of the labels, each label equally often"
        return "the prior that was learned with the model"

    @property
    def labelled(self) -> bool:
        """Whether it has a density for each label."""
        return bool(self.order)

    def draw(
        self, rows: int, generator: torch.Generator, labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, "rows latent"]:
        """z of u from the mixtures, through the map."""
        with torch.inference_mode():
            if labels is None:
                z = self.prior.draw(rows, generator)
            else:
                z = self.prior.draw_labelled(self._numbers(labels), generator)
        return z.double().numpy()

    def log_density(
        self, z: Float64[np.ndarray, "rows latent"], labels: Int64[np.ndarray, " rows"] | None
    ) -> Float64[np.ndarray, " rows"] | None:
        """log p(z), or log p(z|y) = log p(z, y) - log p(y) with the prior's own p(y)."""
        values = torch.from_numpy(z).float()
        with torch.inference_mode():
            if labels is None:
                return self.prior.log_prob(values).double().numpy()
            joint = self.prior.log_prob_by_label(values).double()
            own = joint.gather(1, self._numbers(labels).unsqueeze(1)).squeeze(1)
            log_py = torch.tensor(self.prior.label_shares(), dtype=torch.float64).log()
            return (own - log_py[self._numbers(labels)]).numpy()

    def _numbers(self, labels: Int64[np.ndarray, " rows"]) -> torch.Tensor:
        return torch.tensor(self.order)[torch.from_numpy(labels)]


def default_prior(subject: Subject) -> SamplePrior | None:
    """The density of `/sample` without `prior=`; None for an autoencoder without a fitted prior."""
    if isinstance(subject.model.prior, LabelledPrior):
        return LearnedDensity(subject.model.prior)
    if subject.prior is not None:
        whole, *_ = subject.prior.mixtures
        return FittedMixtures((whole,), "fitted", "the fitted prior of all images", labelled=False)
    return None if subject.model.kind == "ae" else StandardNormal(subject.model.latent_size)


def priors_of(bench: EvaluationContext) -> tuple[SamplePrior, ...]:
    """Every density that samples are drawn from; models are compared by the first."""
    if isinstance(bench.model.prior, LabelledPrior):
        return _learned(bench, bench.model.prior)
    own: SamplePrior = (
        GaussianOfCodes.fit(bench.train_mu)
        if bench.model.kind == "ae"
        else StandardNormal(bench.model.latent_size)
    )
    return (own, *_fitted(bench))


def _learned(bench: EvaluationContext, prior: LabelledPrior) -> tuple[SamplePrior, ...]:
    """The model's own prior, and that of each label if every label of the data has one."""
    found: list[SamplePrior] = [LearnedDensity(prior)]
    known = bench.subject.prior_labels or tuple(bench.label_names(prior.labels))
    labels = bench.data.train.labels
    names = bench.label_names(0 if labels is None else int(labels.max()) + 1)
    if prior.labels and names and all(name in known for name in names):
        found.append(LearnedDensity(prior, tuple(known.index(name) for name in names)))
    return tuple(found)


def _fitted(bench: EvaluationContext) -> tuple[SamplePrior, ...]:
    """The subject's fitted prior, and its priors by label if every label of the data has one."""
    prior = bench.subject.prior
    if prior is None:
        return ()
    whole, *rest = prior.mixtures
    count = f"{len(whole.weights)} Gaussians" if len(whole.weights) > 1 else "one Gaussian"
    found: list[SamplePrior] = [
        FittedMixtures((whole,), "fitted", f"the fitted prior of all images ({count})", labelled=False)
    ]
    by_label = dict(zip(prior.labels, rest, strict=True))
    labels = bench.data.train.labels
    names = bench.label_names(0 if labels is None else int(labels.max()) + 1)
    if names and all(name in by_label for name in names):
        mixtures = tuple(by_label[name] for name in names)
        about = "the fitted priors of the labels, each label equally often"
        found.append(FittedMixtures(mixtures, "fitted-by-label", about, labelled=True))
    return tuple(found)
