"""encode: the posterior of each image.

Knows validation and the meaning of the encoder's outputs. Knows nothing of queues, threads or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder, check_finite
from service.engine.operations.validation import validate_images
from service.engine.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z|x) = N(mu, exp(logvar)) of each image; `logvar` is log σ², meaningless for an autoencoder."""

    mu: Float32Array
    logvar: Float32Array

    def draw(self, eps: Float32Array) -> Float32Array:
        """z = mu + σ ⊙ eps, with σ = exp(½ logvar), one for each image.

        An extreme logvar yields infinity, which the check of the decoder's output finds.

        Source:
            Kingma & Welling 2013, arXiv:1312.6114, section 2.4.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            z: Float32Array = self.mu + np.exp(np.float32(0.5) * self.logvar) * eps
        return z


async def encode(model: EncoderDecoder, x: Float32Array, *, call: Call | None = None) -> Posterior:
    """The posterior of each image.

    Args:
        model: The version to run.
        x: Images, float32 (1 … max_batch, C, H, W) in [0, 1].
        call: Deadline and connection of the request; None waits without a limit.

    Raises:
        InvalidInput: `x` is invalid.
        InferenceFailed: The runtime raised, or an output is not finite.
        NotRun: No model was run; see its subclasses.
    """
    x = validate_images(
        x,
        shape=model.image_shape,
        max_batch=model.max_batch,
        model=model.label,
        is_bounded=model.is_bounded,
    )
    mu, logvar = await model.run_encoder(x, call or Call())
    check_finite(model, model.encoder_file, mu, logvar)
    return Posterior(mu, logvar)
