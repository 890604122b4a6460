"""A published version behind the face of a torch model, so that one code measures runs and what is served.

Knows the two graphs, the likelihood that the manifest states, and how `x_hat` becomes that likelihood's
parameters again. Knows nothing of figures. onnxruntime is run by `training.graphs.parity`.

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
from training.models import (
    VAE,
    AutoEncoder,
    Bernoulli,
    DiagonalGaussian,
    Gaussian,
    LatentImageModel,
    Likelihood,
)

#: Nearest to 0 that a probability is taken for: float32 resolves those near 0 finely, so only a true zero
#: (a sigmoid that underflowed) is lifted, to a cost of 87 nats.
LOWEST_PROBABILITY = float(np.finfo(np.float32).tiny)
#: Nearest to 1: float32 rounds all that lies beyond to 1 itself. A pixel there costs at most 17.3 nats,
#: where the logit behind it might have said more.
HIGHEST_PROBABILITY = 1.0 - 2.0**-25


class _Published(LatentImageModel):
    """What both kinds share: the graphs answer in place of layers."""

    def __init__(self, published: PublishedModel, *, threads: int) -> None:
        """Load a verified version and hold it against its golden vectors.

        Args:
            published: As `ModelStore.open` gives it.
            threads: Of onnxruntime, for each graph.

        Raises:
            ExportError: onnxruntime refuses a graph.
            GoldenMismatch: It computes something else here than where the version was exported.
        """
        manifest = published.manifest
        super().__init__(
            encoder=nn.Identity(),
            decoder=nn.Identity(),
            likelihood=_likelihood(manifest),
            image_shape=manifest.image.shape,
            latent_size=manifest.latent_size,
            logvar_bounds=(-math.inf, math.inf),  # the graph has its own inside
        )
        # The bytes are this model's weights: they, and nothing else, decide `weights_sha256`.
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
        """x_hat by `decoder.onnx`, as the service answers it."""
        return torch.from_numpy(self._pair.decode(np.ascontiguousarray(z.numpy(), dtype=np.float32)))

    def decode_params(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channel height width"]:
        """The logit of x_hat: what the decoder computed before its last operation, as far as x_hat tells."""
        return logit(self.decode(z))


class PublishedVAE(_Published, VAE):
    """A published variational autoencoder."""


class PublishedAutoEncoder(_Published, AutoEncoder):
    """A published deterministic autoencoder."""


def published_model(published: PublishedModel, *, threads: int) -> PublishedVAE | PublishedAutoEncoder:
    """A version of either kind, on `threads` threads.

    Raises:
        ExportError: onnxruntime refuses a graph.
        GoldenMismatch: It computes something else here than where the version was exported.
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
        # Fitted or not, it is fixed now.
        return Gaussian(sigma=stated.sigma, learned=False)
    return Bernoulli()


def _as_tensor(graph: bytes) -> Tensor:
    return torch.frombuffer(bytearray(graph), dtype=torch.uint8)
