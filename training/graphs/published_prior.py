"""The learned prior of a published version, with the interface of one in torch.

Knows its two graphs and the mixtures of u. Knows nothing of encoders, decoders or figures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.distributions import MultivariateNormal

from model_store import GaussianMixture, PublishedModel
from training.graphs.prior_parity import OnnxPrior
from training.models.priors import LabelledPrior


class PublishedPrior(LabelledPrior):
    """p(z) by `prior_density.onnx`, and draws by `prior.npz` and `prior_sampler.onnx`."""

    def __init__(self, published: PublishedModel, *, threads: int) -> None:
        """Load a verified prior and compare it with its golden vectors.

        Args:
            published: A version with a learned prior, from `ModelStore.open`.
            threads: Threads of onnxruntime, for each graph.

        Raises:
            ExportError: onnxruntime rejects a graph.
            GoldenMismatch: Its results differ from those at the export.
        """
        super().__init__()
        entry, files = published.manifest.learned_prior, published.learned_prior
        assert entry is not None
        assert files is not None, "verified with the manifest"
        assert published.prior is not None, "verified with the manifest"
        self._whole, *self._labelled = published.prior.split(entry)
        self._shares = [each.share for each in entry.labels]
        self.labels = len(entry.labels)
        self.label_draws = entry.label_draws
        self._onnx = OnnxPrior(sampler=files.sampler, density=files.density, threads=threads)
        golden = files.golden
        golden.check_sampler(self._onnx.sample(golden.u), entry.golden)
        golden.check_density(*self._onnx.density(golden.z), entry.golden)
        # The bytes are the weights, as those of encoder and decoder.
        for name, graph in (("sampler_graph", files.sampler), ("density_graph", files.density)):
            self.register_buffer(name, torch.frombuffer(bytearray(graph), dtype=torch.uint8))

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """log p(z), float32, as the service scores with it."""
        _, log_pz = self._onnx.density(np.ascontiguousarray(z.numpy(), dtype=np.float32))
        return torch.from_numpy(log_pz)

    def log_prob_by_label(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch label"]:
        """log p(z) + log p(y|u), float32: the map from z to u is the same for all labels."""
        u, log_pz = self._onnx.density(np.ascontiguousarray(z.numpy(), dtype=np.float32))
        joint = [
            _log_density(mixture, torch.from_numpy(u).double()) + math.log(share)
            for mixture, share in zip(self._labelled, self._shares, strict=True)
        ]
        log_py_u = torch.log_softmax(torch.stack(joint, dim=1), dim=1)
        return torch.from_numpy(log_pz).unsqueeze(1) + log_py_u.float()

    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows latent"]:
        """z of u from the mixture of all images."""
        return self._drawn([self._whole], torch.zeros(rows, dtype=torch.long), generator)

    def label_shares(self) -> tuple[float, ...]:
        """p(y) of each label, as the manifest states it."""
        return tuple(self._shares)

    def draw_of_labels(
        self, labels: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        """One z for each label, of u from the label's own mixture."""
        return self._drawn(self._labelled, labels, generator)

    def _drawn(
        self, mixtures: list[GaussianMixture], numbers: Int64[Tensor, " rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows latent"]:
        rows, latent = len(numbers), self._whole.means.shape[1]
        uniform = torch.rand(rows, generator=generator, dtype=torch.float64).numpy()
        eps = torch.randn(rows, latent, generator=generator, dtype=torch.float64).numpy()
        u = np.empty((rows, latent), np.float32)
        for number, mixture in enumerate(mixtures):
            (mine,) = np.nonzero(numbers.numpy() == number)
            chosen = np.searchsorted(np.cumsum(mixture.weights)[:-1], uniform[mine], side="right")
            moved = np.einsum("nij,nj->ni", mixture.cholesky[chosen].astype(np.float64), eps[mine])
            u[mine] = mixture.means[chosen] + moved
        return torch.from_numpy(self._onnx.sample(u)) if rows else torch.from_numpy(u)


def _log_density(mixture: GaussianMixture, u: Float64[Tensor, "batch latent"]) -> Float64[Tensor, " batch"]:
    """log Σ_k w_k N(u; m_k, L_k L_kᵀ)."""
    means, cholesky, weights = (
        torch.tensor(array).double() for array in (mixture.means, mixture.cholesky, mixture.weights)
    )
    density: Any = MultivariateNormal(means, scale_tril=cholesky)
    each: Tensor = density.log_prob(u.unsqueeze(1))
    return torch.logsumexp(each + weights.log(), dim=1)
