"""interpolate: images along the path between two latents.

Knows the two methods and the ends of a path. Knows nothing of queues, threads or HTTP.

    two x ──encoder──▶ two mu ─┐
    two z ─────────────────────┴─▶ z of each step ──decoder──▶ x_hat
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_store.numbers import told_apart
from service.engine.errors import InvalidInput
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, decode_valid
from service.engine.operations.geometry import DEFAULT_STEPS, METHODS, Method, interpolation_path
from service.engine.operations.starting_latents import starting_latents
from service.engine.operations.validation import LATENT_BOUND, validate_steps, validate_word
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Images along the path from one latent to another."""

    z: Float32Array
    """(steps, latent), both ends included."""
    x_hat: Float32Array
    method: Method


async def interpolate(
    model: EncoderDecoder,
    *,
    x: Float32Array | None = None,
    z: Float32Array | None = None,
    steps: int = DEFAULT_STEPS,
    method: Method | None = None,
    call: Call | None = None,
) -> Interpolation:
    """Images along the path between two images, by their mu, or between two latents.

    The first and the last image equal those of `decode` for the ends, byte for byte.

    Args:
        model: The version to run.
        x: Two images, float32 (2, C, H, W) in [0, 1]; or
        z: two latents, float32 (2, latent), finite and within ±`LATENT_BOUND`.
        steps: Number of images, both ends included, 2 … max_batch.
        method: `slerp` or `lerp`, see `geometry.interpolation_path`. None is `slerp`, which keeps the lengths
            of N(0, I), and without that prior `lerp`: for an autoencoder, and with a learned prior.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: The ends or a parameter are invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    assert (x is None) != (z is None), "two images or two latents"
    if method is None:
        method = "slerp" if model.has_normal_prior else "lerp"
    validate_word(method, where="method", words=METHODS)
    validate_steps(steps, most=model.max_batch)
    call = call or Call()
    ends = await starting_latents(model, x, z, count=2, of="the two ends", call=call)
    if z is not None and method == "slerp":
        _refuse_long(ends)
    path = interpolation_path(ends, steps=steps, method=method)
    return Interpolation(path, await decode_valid(model, path, call), method)


def _refuse_long(ends: Float32Array) -> None:
    """An arc leaves the box that contains its ends, but never the ball."""
    lengths = np.linalg.norm(ends.astype(np.float64), axis=1)
    if lengths.max() > LATENT_BOUND:
        at = int(lengths.argmax())
        raise InvalidInput(
            f"z[{at}]",
            f"for slerp, a length of at most {LATENT_BOUND:g}",
            told_apart(float(lengths[at]), LATENT_BOUND),
            "Use method=lerp, or ends nearer to the prior, whose draws have about the length of the "
            "square root of the latent size.",
        )
