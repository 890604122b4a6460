"""sample: images drawn from a prior, whole or in parts.

Knows validation, seeds and priors. Knows nothing of queues, threads or HTTP.

    z ~ a prior (`priors`) ──decoder──▶ x_hat
    u ~ the mixtures of a learned prior ──sampler──▶ z ──decoder──▶ x_hat

Sample i of a seed is the same for every n, in every process and after every restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import (
    EncoderDecoder,
    as_images,
    check_finite,
    decode_valid,
)
from service.engine.operations.noise import new_seed
from service.engine.operations.parts import Parts, decode_ahead, part_sizes
from service.engine.operations.priors import Density
from service.engine.operations.validation import validate_count, validate_seed, validate_temperature
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Samples:
    """Images drawn from a prior, with everything needed to draw them again."""

    z: Float32Array
    x_hat: Float32Array
    seed: int
    temperature: float
    prior: str
    """`standard`, `fitted` or `learned`."""
    label: str | None
    """The label whose images were requested; None for images of all labels."""


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Checked parameters of `sample`, with missing ones filled in."""

    density: Density
    seed: int
    temperature: float

    def latents(self, *, first_row: int, rows: int) -> Float32Array:
        """Rows `first_row` … `first_row + rows - 1` of the draw: z or u, float32 (rows, latent)."""
        return self.density.draw(seed=self.seed, first_row=first_row, rows=rows, temperature=self.temperature)


def plan_sample(
    model: EncoderDecoder,
    *,
    n: int,
    max_images: int,
    seed: int | None = None,
    temperature: float = 1.0,
    prior: str | None = None,
    label: str | None = None,
) -> SamplePlan:
    """Check the parameters of `sample` and `sample_in_parts`, without drawing anything.

    Args:
        model: The version to draw from.
        n: Number of images, 1 … `max_images`.
        max_images: Maximum number of images in the response.
        seed: As in `sample`.
        temperature: As in `sample`.
        prior: As in `sample`.
        label: As in `sample`.

    Raises:
        NoPrior: The version has no such prior.
        InvalidInput: A number is out of its range, or the label does not exist.
    """
    density = model.priors.choose(prior=prior, label=label)
    validate_count(n, max_batch=max_images)
    chosen = new_seed() if seed is None else validate_seed(seed)
    return SamplePlan(density, chosen, validate_temperature(temperature))


def latents_of_seeds(plan: SamplePlan, seeds: Sequence[int]) -> Float32Array:
    """Row i is row 0 of the draw with seed `seeds[i]`: the z of `sample(n=1, seed=seeds[i])`, or its u.

    Args:
        plan: Density and temperature; its own seed has no effect.
        seeds: At least one, each 0 … 2⁵³ - 1.

    Raises:
        InvalidInput: A seed is out of its range.
    """
    return np.concatenate(
        [replace(plan, seed=validate_seed(seed)).latents(first_row=0, rows=1) for seed in seeds]
    )


async def decode_draw(
    model: EncoderDecoder, density: Density, drawn: Float32Array, call: Call
) -> tuple[Float32Array, Float32Array]:
    """(z, x_hat) of rows that `density` has drawn.

    Raises:
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    learned = model.learned_prior
    if not density.is_of_u:
        return drawn, await decode_valid(model, drawn, call)
    assert learned is not None, "such a density is one of a learned prior"
    x_hat, z = await learned.run_sampler(drawn, call)
    check_finite(model, learned.sampler_file, z)
    return z, as_images(model, x_hat)


async def sample(
    model: EncoderDecoder,
    *,
    n: int = 1,
    seed: int | None = None,
    temperature: float = 1.0,
    prior: str | None = None,
    label: str | None = None,
    call: Call | None = None,
) -> Samples:
    """Images of z drawn from a prior.

    Args:
        model: The version to draw from.
        n: Number of images, 1 … max_batch.
        seed: 0 … 2⁵³ - 1; None chooses one, which the response contains.
        temperature: Factor on eps, 0 … 10; 1 leaves the prior unchanged.
        prior: `standard`, `fitted` or `learned`; None is the best prior of the version.
        label: Draw images of that label only; None draws images of all labels.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        NoPrior: The version has no such prior.
        InvalidInput: A number is out of its range, or the label does not exist.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    plan = plan_sample(
        model,
        n=n,
        max_images=model.max_batch,
        seed=seed,
        temperature=temperature,
        prior=prior,
        label=label,
    )
    drawn = plan.latents(first_row=0, rows=n)
    z, x_hat = await decode_draw(model, plan.density, drawn, call or Call())
    return Samples(z, x_hat, plan.seed, plan.temperature, plan.density.prior, plan.density.label)


def sample_in_parts(
    model: EncoderDecoder,
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
    """The images of `sample`, with only a few parts in memory at a time.

    Args:
        model: The version to draw from.
        n: Number of images, 1 … `max_images`.
        max_images: Maximum number of images in such a response.
        seed: As in `sample`.
        temperature: As in `sample`.
        prior: As in `sample`.
        label: As in `sample`.
        call: Deadline and connection of the request; the deadline is that of the first part.
        part_limit_s: Seconds that each later part may take, from when it is submitted.

    Raises:
        NoPrior: The version has no such prior.
        InvalidInput: A number is out of its range, or the label does not exist. Both are raised at once; the
            iterator raises the other errors.
    """
    plan = plan_sample(
        model, n=n, max_images=max_images, seed=seed, temperature=temperature, prior=prior, label=label
    )
    latents = (plan.latents(first_row=first, rows=size) for first, size in part_sizes(model, n))
    learned = model.learned_prior if plan.density.is_of_u else None
    run = None if learned is None else learned.run_sampler
    images = decode_ahead(model, latents, call=call or Call(), part_limit_s=part_limit_s, run=run)
    return Parts(n, plan.seed, plan.temperature, images, plan.density.prior, plan.density.label)
