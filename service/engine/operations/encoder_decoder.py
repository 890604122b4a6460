"""The basis of every operation: the two graphs of a version as functions, and their tensors.

Knows arrays, and the valid range of outputs. Knows nothing of queues, threads or HTTP, or of running a graph.

    x ──run_encoder──▶ mu, logvar        z ──run_decoder──▶ x_hat

Images are float32 (batch, C, H, W) in [0, 1]; latents float32 (batch, latent), flat whatever their shape is
for a client.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model_store import BernoulliLikelihood
from model_store.manifest import Likelihood
from service.engine.errors import InferenceFailed
from service.engine.operations.arrays import Float32Array
from service.engine.operations.priors import Priors
from service.engine.runtime.call import Call


class PendingRun(Awaitable[tuple[Float32Array, ...]], Protocol):
    """All outputs of a graph, in the order of the manifest, when they are computed."""

    def cancel(self) -> object:
        """Declare that the outputs are no longer wanted."""


class RunGraph(Protocol):
    """Runs one graph on any number of rows."""

    def __call__(self, rows: Float32Array, call: Call, /) -> PendingRun:
        """One output row for each of `rows`."""


@dataclass(frozen=True, slots=True)
class LearnedPriorRuns:
    """The runs that a learned prior adds: each of two graphs on the same rows."""

    run_sampler: RunGraph
    """u → x_hat, z."""
    run_density: RunGraph
    """z → x_hat, u, log_pz."""
    sampler_file: str
    density_file: str


@dataclass(frozen=True, slots=True)
class EncoderDecoder:
    """One version, from the view of the operations."""

    label: str
    """`name@version`, for messages."""
    image_shape: tuple[int, int, int]
    """(channels, height, width)."""
    latent_size: int
    max_batch: int
    """Maximum number of rows per call: fewer of large images."""
    values_per_row: int
    """Numbers of one image, or of one latent if it has more."""
    has_posterior: bool
    """True for a VAE; the `logvar` of a plain autoencoder has no meaning."""
    likelihood: Likelihood
    priors: Priors
    encoder_file: str
    decoder_file: str
    run_encoder: RunGraph
    run_decoder: RunGraph
    check_decoding_time: Callable[[int, Call], None]
    """Raises `DeadlineExceeded` if the decoder cannot run so many rows before the deadline of the call."""
    learned_prior: LearnedPriorRuns | None = None
    """None: p(z) is N(0, I), if the model has a prior."""
    latent_shape: tuple[int, ...] = ()
    """Shape of one latent for clients; empty: (latent_size,)."""
    is_bounded: bool = True
    """Whether images are pixels in [0, 1]; the values of some imported models are none."""

    @property
    def has_normal_prior(self) -> bool:
        """Whether p(z) is N(0, I): true for a VAE without a learned prior."""
        return self.has_posterior and self.learned_prior is None

    @property
    def is_bernoulli(self) -> bool:
        """Whether the likelihood applies to binary pixels."""
        return isinstance(self.likelihood, BernoulliLikelihood)


async def decode_valid(model: EncoderDecoder, z: Float32Array, call: Call) -> Float32Array:
    """Images of valid latents."""
    (x_hat,) = await model.run_decoder(z, call)
    return as_images(model, x_hat)


def as_images(model: EncoderDecoder, x_hat: Float32Array) -> Float32Array:
    """The decoder's mean, clipped in place to the range of pixels, if the model has one.

    Raises:
        InferenceFailed: A value is not finite.
    """
    check_finite(model, model.decoder_file, x_hat)
    if not model.is_bounded:
        return x_hat
    # A Gaussian decoder may overshoot slightly; the contract promises pixels within [0, 1].
    return np.clip(x_hat, 0.0, 1.0, out=x_hat)


def check_finite(model: EncoderDecoder, file: str, *outputs: Float32Array) -> None:
    """Check the outputs of a graph.

    Raises:
        InferenceFailed: A value is not finite.
    """
    for values in outputs:
        # A sum of squares is finite only if all values are, and takes a fifth of the time; squares may
        # overflow.
        flat = values.ravel()
        if not (math.isfinite(flat.dot(flat)) or np.isfinite(values).all()):
            raise InferenceFailed(
                f"{model.label}: {file}: expected finite outputs, got NaN or infinity. Use another version "
                "of the model; the operator should check this one."
            )
