"""A published version with the interface of a torch model, so that the same code measures runs and versions.

Knows the two graphs, the likelihood of the manifest, and the inverse from `x_hat` to that likelihood's
parameters. Knows nothing of figures. `training.graphs.parity` runs onnxruntime.

::

    x ── encoder.onnx ──▶ mu, logvar          z ── decoder.onnx ──▶ x_hat ── log p/(1-p) ──▶ params
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from model_store import GaussianLikelihood, Manifest, PublishedModel
from training.graphs.export import Graphs
from training.graphs.parity import OnnxPair
from training.graphs.published_prior import PublishedPrior
from training.models import (
    VAE,
    AutoEncoder,
    Bernoulli,
    DiagonalGaussian,
    Gaussian,
    LatentImageModel,
    Likelihood,
)

#: Lower bound of a probability. float32 resolves small numbers finely, so the bound lifts only a true zero (a
#: sigmoid that underflowed), to a cost of 87 nats.
LOWEST_PROBABILITY = float(np.finfo(np.float32).tiny)
#: Upper bound of a probability: float32 rounds all larger numbers to 1. Such a pixel costs at most 17.3 nats,
#: where its logit might have cost more.
HIGHEST_PROBABILITY = 1.0 - 2.0**-25


class _Published(LatentImageModel):
    """The common part of both kinds: the graphs replace the layers."""

    def __init__(self, published: PublishedModel, *, threads: int) -> None:
        """Load a verified version and compare it with its golden vectors.

        Args:
            published: From `ModelStore.open`.
            threads: Threads of onnxruntime, for each graph.

        Raises:
            ExportError: onnxruntime rejects a graph.
            GoldenMismatch: Its results differ from those at the export.
        """
        manifest = published.manifest
        super().__init__(
            encoder=nn.Identity(),
            decoder=nn.Identity(),
            likelihood=_likelihood(manifest),
            image_shape=manifest.image.shape,
            latent_size=manifest.latent_size,
            latent_shape=manifest.latent_shape,
            logvar_bounds=(-math.inf, math.inf),  # the graph contains its own bounds
            prior=None if manifest.learned_prior is None else PublishedPrior(published, threads=threads),
        )
        # The bytes are this model's weights: they alone determine `weights_sha256`.
        self.register_buffer("encoder_graph", _as_tensor(published.encoder))
        self.register_buffer("decoder_graph", _as_tensor(published.decoder))
        self._pair = OnnxPair(Graphs(published.encoder, published.decoder), threads=threads)
        golden = published.golden
        golden.check_encoder(*self._pair.encode(golden.x), manifest.golden)
        golden.check_decoder(self._pair.decode(golden.z), manifest.golden)

    def encode(self, x: Float[Tensor, "batch channel height width"]) -> DiagonalGaussian:
        """q(z|x) of each image, by `encoder.onnx`."""
        mu, logvar = self._pair.encode(np.ascontiguousarray(x.numpy(), dtype=np.float32))
        return DiagonalGaussian(mu=torch.from_numpy(mu), logvar=torch.from_numpy(logvar))

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """x_hat by `decoder.onnx`, as the service returns it."""
        return torch.from_numpy(self._pair.decode(np.ascontiguousarray(z.numpy(), dtype=np.float32)))

    def decode_params(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """The logit of x_hat: the decoder's value before its last operation, up to rounding."""
        return logit(self.decode(z))


class PublishedVAE(_Published, VAE):
    """A published variational autoencoder."""


class PublishedAutoEncoder(_Published, AutoEncoder):
    """A published deterministic autoencoder."""


def published_model(published: PublishedModel, *, threads: int) -> PublishedVAE | PublishedAutoEncoder:
    """A version of either kind, on `threads` threads.

    Raises:
        ExportError: onnxruntime rejects a graph.
        GoldenMismatch: Its results differ from those at the export.
    """
    kind = PublishedVAE if published.manifest.kind == "vae" else PublishedAutoEncoder
    return kind(published, threads=threads)


def logit(p: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """log p/(1 - p) in float64, p held within [`LOWEST_PROBABILITY`, `HIGHEST_PROBABILITY`].

    float64, because 1 - p of a float32 close to 1 has few bits left, and the clamp's upper end is between
    1 and the float32 below it.
    """
    held = p.double().clamp(LOWEST_PROBABILITY, HIGHEST_PROBABILITY)
    return held.log() - torch.log1p(-held)


def _likelihood(manifest: Manifest) -> Likelihood:
    stated = manifest.likelihood
    if isinstance(stated, GaussianLikelihood):
        # It is a constant now, learned or not.
        return Gaussian(sigma=stated.sigma, learned=False)
    return Bernoulli()


def _as_tensor(graph: bytes) -> Tensor:
    return torch.frombuffer(bytearray(graph), dtype=torch.uint8)
