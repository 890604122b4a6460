"""A learned prior as two ONNX files and its mixtures: `u → z`, `z → u, log_pz`, and the Gaussians of u.

Knows the layers of the prior and the exporter of `training.graphs.export`. Knows nothing of runs, stores or
runtimes: `training.graphs.prior_parity` compares a runtime's outputs with torch's.

A scale exp(s) is exported as sigmoid(s) / sigmoid(-s): onnxruntime computes Exp of the last values of a batch
by another formula than the others, so a row's bits would depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from model_store import GaussianMixture, PriorMixtures
from training.graphs.export import OPSET, export_graph
from training.models.priors import Coupling, LearnedPrior


@dataclass(frozen=True, eq=False)
class PriorGraphs:
    """The files of a learned prior, before any run."""

    sampler: bytes
    density: bytes
    mixtures: PriorMixtures
    """That of all images, then those of the labels."""
    label_weights: tuple[float, ...]
    """p(y) of each label; empty without labels."""
    opset: int = OPSET


class _Sampler(nn.Module):
    """u → z."""

    def __init__(self, prior: LearnedPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, u: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        z = u
        for coupling in reversed(self.prior.flow):
            assert isinstance(coupling, Coupling)
            log_scale, shift = coupling.scale_and_shift(z)
            z = (z - shift) * _exp(-log_scale)
        return z + 0.0  # a graph without couplings must still compute its output


class _Density(nn.Module):
    """z → (u, log_pz)."""

    whitening: Tensor
    centre: Tensor
    constant: Tensor

    def __init__(self, prior: LearnedPrior) -> None:
        super().__init__()
        self.prior = prior
        # Computed once, in float64, and not by every run of the graph.
        weights, means, cholesky = prior.mixture.factors()
        components, size = means.shape
        unit = torch.eye(size, dtype=torch.float64).expand_as(cholesky)
        factor = torch.linalg.solve_triangular(cholesky, unit, upper=False)
        self.components, self.size = components, size
        self.register_buffer("whitening", factor.reshape(components * size, size).T.float().contiguous())
        self.register_buffer("centre", torch.einsum("cij,cj->ci", factor, means).flatten().float())
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        constant = weights.log() + log_det - 0.5 * size * np.log(2.0 * np.pi)
        self.register_buffer("constant", constant.float())

    def forward(
        self, z: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, " batch"]]:
        u, log_det = z + 0.0, torch.zeros_like(z[:, 0])
        for coupling in self.prior.flow:
            assert isinstance(coupling, Coupling)
            log_scale, shift = coupling.scale_and_shift(u)
            u = u * _exp(log_scale) + shift
            log_det = log_det + log_scale.sum(dim=1)
        centred = (u @ self.whitening - self.centre).view(-1, self.components, self.size)
        log_pu = torch.logsumexp(self.constant - 0.5 * centred.square().sum(dim=2), dim=1)
        return u, log_pu + log_det


def export_prior(prior: LearnedPrior) -> PriorGraphs:
    """Export both directions in float32 with a dynamic batch axis, and the mixtures of u.

    Args:
        prior: On the CPU, float32.

    Raises:
        ExportError: The exporter fails, or produces a file that is invalid, random or not of `OPSET`.
    """
    example = torch.zeros(2, prior.latent_size)
    weights, means, cholesky = (tensor.numpy() for tensor in prior.mixture.factors())
    whole = _mixture(weights, means, cholesky)
    of_label = np.split(np.arange(len(weights)), prior.labels) if prior.labels else []
    labelled = [_mixture(weights[rows], means[rows], cholesky[rows]) for rows in of_label]
    return PriorGraphs(
        sampler=export_graph("prior_sampler", _Sampler(prior), example, inputs=["u"], outputs=["z"]),
        density=export_graph(
            "prior_density", _Density(prior), example, inputs=["z"], outputs=["u", "log_pz"]
        ),
        mixtures=PriorMixtures.of((whole, *labelled)),
        label_weights=tuple(float(weights[rows].sum()) for rows in of_label),
    )


def _mixture(weights: np.ndarray, means: np.ndarray, cholesky: np.ndarray) -> GaussianMixture:
    return GaussianMixture(
        weights=weights / weights.sum(),
        means=means.astype(np.float32),
        cholesky=cholesky.astype(np.float32),
    )


def _exp(bounded: Tensor) -> Tensor:
    """exp of a log scale, which `Coupling` keeps within ±2."""
    return torch.sigmoid(bounded) / torch.sigmoid(-bounded)
