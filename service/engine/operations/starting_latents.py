"""The start of an interpolation or a traversal: the mu of images, or latents of the request.

Knows validation and encoding. Knows nothing of paths, queues or HTTP.
"""

from __future__ import annotations

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encode import encode
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.validation import validate_images, validate_latents, validate_row_count
from service.engine.runtime.call import Call


async def starting_latents(
    model: EncoderDecoder,
    x: Float32Array | None,
    z: Float32Array | None,
    *,
    count: int,
    of: str,
    call: Call,
) -> Float32Array:
    """Exactly `count` latents: mu of the images `x`, or `z` itself.

    Args:
        model: The version to run.
        x: Images, float32 (`count`, C, H, W) in [0, 1]; or None, and then
        z: latents, float32 (`count`, latent), finite and within ±`LATENT_BOUND`.
        count: Required number.
        of: Their name in messages: `the two ends`.
        call: Deadline and connection of the request.

    Raises:
        InvalidInput: The array is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    if x is not None:
        x = validate_images(
            x,
            shape=model.image_shape,
            max_batch=model.max_batch,
            model=model.label,
            is_bounded=model.is_bounded,
        )
        validate_row_count(x, where="images", count=count, of=of)
        return (await encode(model, x, call=call)).mu
    assert z is not None
    z = validate_latents(z, size=model.latent_size, max_batch=model.max_batch, model=model.label)
    validate_row_count(z, where="z", count=count, of=of)
    return z
