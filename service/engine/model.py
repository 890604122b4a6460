"""A published version, loaded and checked: encode, decode, sample, reconstruct on arrays.

Knows the two graphs, the noise and the golden vectors. Knows nothing of HTTP, JSON, pictures or where
versions come from. Each operation exists once, here, and needs no request; every method may be called from
any thread and runs in the caller's.

    x ──encoder──▶ mu, logvar ──▶ z = mu + exp(½ logvar) · eps ──decoder──▶ x_hat
                                  z = temperature · eps        ──decoder──▶ x_hat

Images are float32 (batch, C, H, W) in [0, 1]; latents float32 (batch, latent).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store import GoldenMismatch, GoldenVectors, Manifest, PublishedModel, VersionId
from service.engine.errors import InferenceFailed, ModelRejected, NoPrior
from service.engine.rows import BATCH_SIZES, RowRunner
from service.engine.sampling import new_seed, standard_normal
from service.engine.session import GraphSession
from service.engine.validation import (
    validate_count,
    validate_images,
    validate_latents,
    validate_seed,
    validate_temperature,
)

#: A ceiling for callers that set none: 65,536 images of 28×28 are 205 MB.
DEFAULT_MAX_BATCH = 65_536
#: Any seed would do; the rows it gives are the inputs on which batches are compared with single rows.
_PROBE_SEED = 0

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(mu, exp(logvar)) of each image; `logvar` is log σ², and means nothing for an autoencoder."""

    mu: Float32Array
    logvar: Float32Array


@dataclass(frozen=True)
class Samples:
    """Images drawn from the prior, with all that is needed to draw them again."""

    z: Float32Array
    x_hat: Float32Array
    seed: int
    temperature: float


@dataclass(frozen=True)
class Reconstruction:
    """Images given back, the latents in between, and the seed if z was drawn rather than set to mu."""

    z: Float32Array
    x_hat: Float32Array
    mu: Float32Array
    logvar: Float32Array
    seed: int | None


class LoadedModel:
    """One version that has reproduced its golden vectors in this process."""

    def __init__(
        self,
        published: PublishedModel,
        *,
        threads: int,
        max_batch: int = DEFAULT_MAX_BATCH,
        aliases: tuple[str, ...] = (),
    ) -> None:
        """Load both graphs from their verified bytes, warm them, and compare them with the golden vectors.

        Args:
            published: Verified bytes and manifest.
            threads: Threads of one run.
            max_batch: Most rows that one call takes.
            aliases: Names that point here, without the model's own.

        Raises:
            ModelRejected: A graph does not load, is not what the manifest says, or disagrees with the golden
                vectors.
        """
        self._manifest = published.manifest
        self._id = published.id
        self._aliases = aliases
        self._max_batch = max_batch
        self._encoder = RowRunner(GraphSession(published.encoder, self._manifest.encoder, threads=threads))
        self._decoder = RowRunner(GraphSession(published.decoder, self._manifest.decoder, threads=threads))
        try:
            self._allow_exact_batches()
            self._check_golden(published.golden)
        except InferenceFailed as error:
            raise ModelRejected(f"{self.label}: a graph loaded, but does not run. {error}") from error

    @property
    def id(self) -> VersionId:
        """Name and version."""
        return self._id

    @property
    def label(self) -> str:
        """`name@version`, as answers carry it."""
        return str(self._id)

    @property
    def manifest(self) -> Manifest:
        """What the version says about itself."""
        return self._manifest

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names that pointed here when the store was last read, such as `stable`."""
        return self._aliases

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self._manifest.image.shape

    @property
    def latent_size(self) -> int:
        """Length of one z."""
        return self._manifest.latent_size

    @property
    def max_batch(self) -> int:
        """Most rows that one call takes."""
        return self._max_batch

    @property
    def batch_sizes(self) -> dict[str, tuple[int, ...]]:
        """By graph, the sizes it is run in: (1,) where larger ones would change bits (`rows.py`)."""
        return {runner.file: runner.batch_sizes for runner in (self._encoder, self._decoder)}

    def with_aliases(self, aliases: tuple[str, ...]) -> LoadedModel:
        """The same loaded graphs under other names."""
        renamed = copy.copy(self)
        renamed._aliases = aliases
        return renamed

    def encode(self, x: Float32Array) -> Posterior:
        """The posterior of each image.

        Raises:
            InvalidInput: `x` is not float32 (1 … max_batch, C, H, W) in [0, 1].
            InferenceFailed: The runtime raised or gave something that is not finite.
        """
        return self._encode(
            validate_images(x, shape=self.image_shape, max_batch=self._max_batch, model=self.label)
        )

    def decode(self, z: Float32Array) -> Float32Array:
        """The decoder's mean image of each latent, in [0, 1].

        Raises:
            InvalidInput: `z` is not float32 (1 … max_batch, latent), finite and within ±`LATENT_BOUND`.
            InferenceFailed: The runtime raised or gave something that is not finite.
        """
        return self._decode(
            validate_latents(z, size=self.latent_size, max_batch=self._max_batch, model=self.label)
        )

    def sample(self, *, n: int = 1, seed: int | None = None, temperature: float = 1.0) -> Samples:
        """Images of z = temperature · eps, eps ~ N(0, I).

        Sample i of a seed is the same for every n, in every process and after every restart.

        Args:
            n: How many, 1 … max_batch.
            seed: 0 … 2⁵³ - 1; None draws one, told in the answer.
            temperature: Factor on eps, 0 … 10; 1 is the prior that the model was trained with.

        Raises:
            NoPrior: The model is an autoencoder.
            InvalidInput: A number is out of its range.
            InferenceFailed: The runtime raised or gave something that is not finite.
        """
        if not self._manifest.priors:
            raise NoPrior(self.label)
        n = validate_count(n, max_batch=self._max_batch)
        temperature = validate_temperature(temperature)
        seed = new_seed() if seed is None else validate_seed(seed)
        z = np.float32(temperature) * self._noise(seed, n)
        return Samples(z, self._decode(z), seed, temperature)

    def reconstruct(
        self, x: Float32Array, *, sample: bool = False, seed: int | None = None
    ) -> Reconstruction:
        """Each image through both graphs.

        Args:
            x: Images, float32 (1 … max_batch, C, H, W) in [0, 1].
            sample: False decodes z = mu; True draws z from the posterior.
            seed: For drawing, as in `sample`; image i of a request takes row i of the seed. Unused without
                `sample`.

        Raises:
            InvalidInput: `x` or `seed` does not fit.
            NoPrior: Drawing from an autoencoder, whose `logvar` has no meaning.
            InferenceFailed: The runtime raised or gave something that is not finite.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, section 2.4: z = mu + σ ⊙ eps, with σ = exp(½ logvar).
        """
        if sample and not self._manifest.priors:
            raise NoPrior(self.label)
        drawn = None
        if sample:
            drawn = new_seed() if seed is None else validate_seed(seed)
        posterior = self.encode(x)
        z = posterior.mu
        if drawn is not None:
            with np.errstate(over="ignore"):  # infinity is found by the check of the decoder's output
                z = posterior.mu + np.exp(np.float32(0.5) * posterior.logvar) * self._noise(drawn, len(x))
        return Reconstruction(z, self._decode(z), posterior.mu, posterior.logvar, drawn)

    def _noise(self, seed: int, rows: int) -> Float32Array:
        return standard_normal(seed=seed, first_row=0, rows=rows, size=self.latent_size)

    def _encode(self, x: Float32Array) -> Posterior:
        mu, logvar = self._encoder.run(x)
        self._check_finite(self._encoder, mu, logvar)
        return Posterior(mu, logvar)

    def _decode(self, z: Float32Array) -> Float32Array:
        (x_hat,) = self._decoder.run(z)
        self._check_finite(self._decoder, x_hat)
        # A Gaussian decoder may overshoot by a little; the contract promises pixels within [0, 1].
        return np.clip(x_hat, 0.0, 1.0, out=x_hat)

    def _check_finite(self, runner: RowRunner, *outputs: Float32Array) -> None:
        for values in outputs:
            if not np.isfinite(values).all():
                raise InferenceFailed(
                    f"{self.label}: {runner.file}: expected finite outputs, got NaN or infinity. "
                    "Use another version of the model; the operator should look at this one."
                )

    def _allow_exact_batches(self) -> None:
        largest = BATCH_SIZES[0]
        pixels = int(np.prod(self.image_shape))
        noise = standard_normal(seed=_PROBE_SEED, first_row=0, rows=largest, size=pixels)
        # Zeros, ones and everything between, as images have them.
        self._encoder.allow_exact_batches(np.clip(noise, 0.0, 1.0).reshape(largest, *self.image_shape))
        self._decoder.allow_exact_batches(self._noise(_PROBE_SEED, largest))

    def _check_golden(self, golden: GoldenVectors) -> None:
        """Through the same code as every request, so that what is proved here is what answers."""
        spec = self._manifest.golden
        try:
            mu, logvar = self._encoder.run(golden.x)
            golden.check_encoder(mu, logvar, spec)
        except GoldenMismatch as error:
            raise ModelRejected(f"{self.label}: {self._encoder.file}: {error}") from error
        try:
            (x_hat,) = self._decoder.run(golden.z)
            golden.check_decoder(x_hat, spec)
        except GoldenMismatch as error:
            raise ModelRejected(f"{self.label}: {self._decoder.file}: {error}") from error
