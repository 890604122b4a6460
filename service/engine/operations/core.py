"""encode, decode, sample, reconstruct: each written once, over two functions that run a graph and may wait.

Knows validation, noise and what the outputs mean. Knows nothing of threads, batches, HTTP or where models
come from. Over the queues of a version (`batcher.py`) these are what the service awaits; over the graphs
themselves they never wait, and `at_once` makes plain calls of them.

    x ──encoder──▶ mu, logvar ──▶ z = mu + exp(½ logvar) · eps ──decoder──▶ x_hat
                                  z ~ a prior (`priors.py`) ──decoder──▶ x_hat

Images are float32 (batch, C, H, W) in [0, 1]; latents float32 (batch, latent).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_store import Manifest
from service.engine.errors import InferenceFailed, NoPrior
from service.engine.operations.noise import new_seed, standard_normal
from service.engine.operations.priors import Density, Priors
from service.engine.operations.validation import (
    validate_count,
    validate_images,
    validate_latents,
    validate_seed,
    validate_temperature,
)
from service.engine.runtime.call import Call

#: Images in one part of a long answer: 200 kB of 28 × 28 floats.
PART_ROWS = 64
#: Parts of one answer that are computed ahead of the part that is being sent.
_PARTS_AHEAD = 2

Float32Array = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z|x) = N(mu, exp(logvar)) of each image; `logvar` is log σ², and means nothing for an autoencoder."""

    mu: Float32Array
    logvar: Float32Array

    def draw(self, eps: Float32Array) -> Float32Array:
        """z = mu + σ ⊙ eps, with σ = exp(½ logvar), one for each image.

        A logvar beyond all measure gives infinity, which the check of the decoder's output finds.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, section 2.4.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            z: Float32Array = self.mu + np.exp(np.float32(0.5) * self.logvar) * eps
        return z


@dataclass(frozen=True, slots=True)
class Samples:
    """Images drawn from a prior, with all that is needed to draw them again."""

    z: Float32Array
    x_hat: Float32Array
    seed: int
    temperature: float
    prior: str
    """`standard` or `fitted`."""
    label: str | None
    """Whose images were asked for, if any label's were."""


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """What a call of `sample` will draw: checked parameters, with the missing ones chosen."""

    density: Density
    seed: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Images given back, the latents in between, and the seed if z was drawn rather than set to mu."""

    z: Float32Array
    x_hat: Float32Array
    mu: Float32Array
    logvar: Float32Array
    seed: int | None


@dataclass(frozen=True, slots=True)
class Parts:
    """A long answer, a part at a time: `PART_ROWS` images each, the last one fewer."""

    count: int
    """Images in all parts together."""
    seed: int | None
    temperature: float | None
    images: AsyncGenerator[Float32Array]
    prior: str | None = None
    """As in `Samples`; None where nothing was drawn."""
    label: str | None = None


class RunGraph(Protocol):
    """All outputs of one graph for all rows; may wait."""

    def __call__(self, rows: Float32Array, call: Call, /) -> Awaitable[tuple[Float32Array, ...]]:
        """Outputs in the order of the manifest, one row for each of `rows`."""


class Operations:
    """What one version can do."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        label: str,
        max_batch: int,
        encoder: RunGraph,
        decoder: RunGraph,
        priors: Priors,
    ) -> None:
        self._label = label
        self._image_shape = manifest.image.shape
        self._latent_size = manifest.latent_size
        self._likelihood = manifest.likelihood
        self._has_posterior = manifest.kind == "vae"
        self._priors = priors
        self._max_batch = max_batch
        self._encoder_file, self._decoder_file = manifest.encoder.file, manifest.decoder.file
        self._run_encoder, self._run_decoder = encoder, decoder

    async def encode(self, x: Float32Array, *, call: Call | None = None) -> Posterior:
        """The posterior of each image.

        Raises:
            InvalidInput: `x` is not float32 (1 … max_batch, C, H, W) in [0, 1].
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.
        """
        x = validate_images(x, shape=self._image_shape, max_batch=self._max_batch, model=self._label)
        mu, logvar = await self._run_encoder(x, call or Call())
        self._check_finite(self._encoder_file, mu, logvar)
        return Posterior(mu, logvar)

    async def decode(self, z: Float32Array, *, call: Call | None = None) -> Float32Array:
        """The decoder's mean image of each latent, in [0, 1].

        Raises:
            InvalidInput: `z` is not float32 (1 … max_batch, latent), finite and within ±`LATENT_BOUND`.
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.
        """
        z = validate_latents(z, size=self._latent_size, max_batch=self._max_batch, model=self._label)
        return await self._decode(z, call or Call())

    async def sample(
        self,
        *,
        n: int = 1,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | None = None,
        label: str | None = None,
        call: Call | None = None,
    ) -> Samples:
        """Images of z drawn from a prior; `priors.py` says how.

        Sample i of a seed is the same for every n, in every process and after every restart.

        Args:
            n: How many, 1 … max_batch.
            seed: 0 … 2⁵³ - 1; None draws one, told in the answer.
            temperature: Factor on eps, 0 … 10; 1 is the prior as it is.
            prior: `standard` or `fitted`; None is the best that the version has.
            label: Draw images of that label only; None draws images of all.
            call: Who waits; without one, somebody who waits for ever.

        Raises:
            NoPrior: The version has no such prior.
            InvalidInput: A number is out of its range, or there is no such label.
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.
        """
        plan = self.plan_sample(
            n=n, max_images=self._max_batch, seed=seed, temperature=temperature, prior=prior, label=label
        )
        density = plan.density
        z = density.draw(seed=plan.seed, first_row=0, rows=n, temperature=plan.temperature)
        x_hat = await self._decode(z, call or Call())
        return Samples(z, x_hat, plan.seed, plan.temperature, density.prior, density.label)

    def plan_sample(
        self,
        *,
        n: int,
        max_images: int,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | None = None,
        label: str | None = None,
    ) -> SamplePlan:
        """Checks what `sample` and `sample_in_parts` check, and draws nothing.

        Args:
            n: How many, 1 … `max_images`.
            max_images: Most images of the answer.
            seed: As in `sample`.
            temperature: As in `sample`.
            prior: As in `sample`.
            label: As in `sample`.

        Raises:
            NoPrior: The version has no such prior.
            InvalidInput: A number is out of its range, or there is no such label.
        """
        density = self._priors.choose(prior=prior, label=label)
        validate_count(n, max_batch=max_images)
        chosen = new_seed() if seed is None else validate_seed(seed)
        return SamplePlan(density, chosen, validate_temperature(temperature))

    async def reconstruct(
        self, x: Float32Array, *, sample: bool = False, seed: int | None = None, call: Call | None = None
    ) -> Reconstruction:
        """Each image through both graphs.

        Args:
            x: Images, float32 (1 … max_batch, C, H, W) in [0, 1].
            sample: False decodes z = mu; True draws z from the posterior.
            seed: For drawing, as in `sample`; image i of a request takes row i of the seed. Unused without
                `sample`.
            call: Who waits; without one, somebody who waits for ever.

        Raises:
            InvalidInput: `x` or `seed` does not fit.
            NoPrior: Drawing from an autoencoder, whose `logvar` has no meaning.
            InferenceFailed: The runtime raised or gave something that is not finite.
            NotRun: No model was run; see its subclasses.
        """
        if sample and not self._has_posterior:
            raise NoPrior(self._label)
        drawn = None
        if sample:
            drawn = new_seed() if seed is None else validate_seed(seed)
        call = call or Call()
        posterior = await self.encode(x, call=call)
        z = posterior.mu
        if drawn is not None:
            z = posterior.draw(self._noise(drawn, 0, len(x)))
        return Reconstruction(z, await self._decode(z, call), posterior.mu, posterior.logvar, drawn)

    def sample_in_parts(
        self,
        *,
        n: int,
        max_images: int,
        seed: int | None = None,
        temperature: float = 1.0,
        prior: str | None = None,
        label: str | None = None,
        call: Call | None = None,
        part_limit_s: float = math.inf,
    ) -> Parts:
        """What `sample` gives, but never more than a few parts of it in memory.

        Args:
            n: How many, 1 … `max_images`.
            max_images: Most images of such an answer.
            seed: As in `sample`.
            temperature: As in `sample`.
            prior: As in `sample`.
            label: As in `sample`.
            call: Who waits; the deadline is that of the first part.
            part_limit_s: Each later part has so long from when it is asked for.

        Raises:
            NoPrior, InvalidInput: At once, as `sample`. The other errors come out of the iterator.
        """
        plan = self.plan_sample(
            n=n, max_images=max_images, seed=seed, temperature=temperature, prior=prior, label=label
        )
        density = plan.density
        latents = (
            density.draw(seed=plan.seed, first_row=first, rows=size, temperature=plan.temperature)
            for first, size in _parts(n)
        )
        images = self._decode_ahead(latents, call or Call(), part_limit_s)
        return Parts(n, plan.seed, plan.temperature, images, density.prior, density.label)

    def decode_in_parts(
        self,
        z: Float32Array,
        *,
        max_images: int,
        call: Call | None = None,
        part_limit_s: float = math.inf,
    ) -> Parts:
        """What `decode` gives, but never more than a few parts of it in memory; see `sample_in_parts`."""
        z = validate_latents(z, size=self._latent_size, max_batch=max_images, model=self._label)
        latents = (z[first : first + size] for first, size in _parts(len(z)))
        return Parts(len(z), None, None, self._decode_ahead(latents, call or Call(), part_limit_s))

    async def _decode_ahead(
        self,
        latents: Iterator[Float32Array],
        call: Call,
        part_limit_s: float | None,
        *,
        finish: Callable[[Float32Array], Float32Array] | None = None,
    ) -> AsyncGenerator[Float32Array]:
        """Decodes parts in their order, a few of them ahead of the reader.

        Args:
            latents: The z of each part, asked for when its turn is near.
            call: Who waits.
            part_limit_s: Each part after the first has so long from when it is asked for; None keeps the
                caller's own deadline for all of them.
            finish: What is made of the decoder's output; images, when left out.
        """
        pending: deque[Awaitable[tuple[Float32Array, ...]]] = deque()
        part_call = call
        try:
            while True:
                while len(pending) < _PARTS_AHEAD and (z := next(latents, None)) is not None:
                    pending.append(self._run_decoder(z, part_call))
                    if part_limit_s is not None:
                        part_call = call.with_deadline(deadline_s=time.monotonic() + part_limit_s)
                if not pending:
                    return
                (x_hat,) = await pending.popleft()
                yield (finish or self._as_images)(x_hat)
        finally:
            for each in pending:  # the reader has left
                stop = getattr(each, "cancel", None) or getattr(each, "close", None)
                if stop is not None:  # of a queue: dropped when its turn comes; of a plain graph: never begun
                    stop()

    async def _decode(self, z: Float32Array, call: Call) -> Float32Array:
        (x_hat,) = await self._run_decoder(z, call)
        return self._as_images(x_hat)

    def _as_images(self, x_hat: Float32Array) -> Float32Array:
        self._check_finite(self._decoder_file, x_hat)
        # A Gaussian decoder may overshoot by a little; the contract promises pixels within [0, 1].
        return np.clip(x_hat, 0.0, 1.0, out=x_hat)

    def _noise(self, seed: int, first_row: int, rows: int) -> Float32Array:
        return standard_normal(seed=seed, first_row=first_row, rows=rows, size=self._latent_size)

    def _check_finite(self, file: str, *outputs: Float32Array) -> None:
        for values in outputs:
            # A sum of squares is finite only if all are, and takes a fifth of the time; squares may overflow.
            flat = values.ravel()
            if not (math.isfinite(flat.dot(flat)) or np.isfinite(values).all()):
                raise InferenceFailed(
                    f"{self._label}: {file}: expected finite outputs, got NaN or infinity. "
                    "Use another version of the model; the operator should look at this one."
                )


def at_once(operation: Coroutine[Any, Any, T]) -> T:
    """The result of an operation that never waits, as a plain call."""
    try:
        operation.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    operation.close()
    raise AssertionError("an operation over plain graphs has nothing to wait for")


def _parts(count: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each part."""
    return ((first, min(PART_ROWS, count - first)) for first in range(0, count, PART_ROWS))
