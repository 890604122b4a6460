"""reconstruct: each image through both graphs.

Knows encoding, seeded noise and decoding. Knows nothing of queues, threads or HTTP.

    x ──encoder──▶ mu, logvar ──▶ z = mu, or mu + exp(½ logvar) · eps ──decoder──▶ x_hat
"""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.errors import NoPrior
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encode import Posterior, encode
from service.engine.operations.encoder_decoder import EncoderDecoder, decode_valid
from service.engine.operations.noise import new_seed, standard_normal
from service.engine.operations.validation import validate_seed
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Reconstructions, the latents in between, and the seed if z was drawn rather than set to mu."""

    z: Float32Array
    x_hat: Float32Array
    mu: Float32Array
    logvar: Float32Array
    seed: int | None


@dataclass(frozen=True, slots=True)
class Encoding:
    """One latent of each image, and the seed if it was drawn rather than set to mu."""

    z: Float32Array
    posterior: Posterior
    seed: int | None


async def reconstruct_latents(
    model: EncoderDecoder,
    x: Float32Array,
    *,
    sample: bool = False,
    seed: int | None = None,
    call: Call | None = None,
) -> Encoding:
    """The latent of each image that `reconstruct` decodes, with its arguments and errors."""
    if sample and not model.has_posterior:
        raise NoPrior(model.label)
    drawn = None
    if sample:
        drawn = new_seed() if seed is None else validate_seed(seed)
    posterior = await encode(model, x, call=call)
    z = posterior.mu
    if drawn is not None:
        z = posterior.draw(standard_normal(seed=drawn, first_row=0, rows=len(x), size=model.latent_size))
    return Encoding(z, posterior, drawn)


async def reconstruct(
    model: EncoderDecoder,
    x: Float32Array,
    *,
    sample: bool = False,
    seed: int | None = None,
    call: Call | None = None,
) -> Reconstruction:
    """Encode and decode each image.

    Args:
        model: The version to run.
        x: Images, float32 (1 … max_batch, C, H, W) in [0, 1].
        sample: False decodes z = mu; True draws z from the posterior.
        seed: Seed of that draw, as in `sample`; image i of a request uses row i of the seed. Unused without
            `sample`.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: `x` or `seed` is invalid.
        NoPrior: The model is an autoencoder, whose `logvar` has no meaning, and `sample` is set.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    call = call or Call()
    done = await reconstruct_latents(model, x, sample=sample, seed=seed, call=call)
    x_hat = await decode_valid(model, done.z, call)
    return Reconstruction(done.z, x_hat, done.posterior.mu, done.posterior.logvar, done.seed)
