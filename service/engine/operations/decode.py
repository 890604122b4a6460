"""decode: the image of each latent, whole or in parts.

Knows validation. Knows nothing of the origin of latents, of queues, threads or HTTP.
"""

from __future__ import annotations

import math

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, check_finite, decode_valid
from service.engine.operations.parts import Parts, decode_ahead, part_sizes
from service.engine.operations.validation import validate_latents
from service.engine.runtime.call import Call


async def decode_unclipped(
    model: EncoderDecoder, z: Float32Array, *, call: Call | None = None
) -> Float32Array:
    """The decoder's own output for each latent, which may leave [0, 1].

    Args and errors as of `decode`.
    """
    z = validate_latents(z, size=model.latent_size, max_batch=model.max_batch, model=model.label)
    (x_hat,) = await model.run_decoder(z, call or Call())
    check_finite(model, model.decoder_file, x_hat)
    return x_hat


async def decode(model: EncoderDecoder, z: Float32Array, *, call: Call | None = None) -> Float32Array:
    """The decoder's mean image of each latent, in [0, 1].

    Args:
        model: The version to run.
        z: Latents, float32 (1 … max_batch, latent), finite and within ±`LATENT_BOUND`.
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: `z` is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    z = validate_latents(z, size=model.latent_size, max_batch=model.max_batch, model=model.label)
    return await decode_valid(model, z, call or Call())


def decode_in_parts(
    model: EncoderDecoder,
    z: Float32Array,
    *,
    max_images: int,
    call: Call | None = None,
    part_limit_s: float = math.inf,
) -> Parts:
    """The images of `decode`, with only a few parts in memory at a time.

    Args:
        model: The version to run.
        z: As in `decode`, but 1 … `max_images` rows.
        max_images: Maximum number of images in such a response.
        call: Deadline and connection of the request; the deadline is that of the first part.
        part_limit_s: Seconds that each later part may take, from when it is submitted.

    Raises:
        InvalidInput: `z` is invalid; raised at once. The iterator raises the other errors.
    """
    z = validate_latents(z, size=model.latent_size, max_batch=max_images, model=model.label)
    latents = (z[first : first + size] for first, size in part_sizes(model, len(z)))
    images = decode_ahead(model, latents, call=call or Call(), part_limit_s=part_limit_s)
    return Parts(len(z), None, None, images)
