"""The pixels for a likelihood: unchanged, or binary ones drawn from their grey levels.

Knows the two likelihoods and seeded noise. Knows nothing of graphs, bounds or HTTP.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np

from model_store.numbers import told_apart
from service.engine.errors import InvalidInput, InvalidParameter
from service.engine.operations.arrays import Float32Array
from service.engine.operations.encoder_decoder import EncoderDecoder
from service.engine.operations.noise import Place, uniform_of
from service.engine.operations.validation import validate_word

Binarise = Literal["dynamic", "none"]
BINARISE: Final[tuple[Binarise, ...]] = get_args(Binarise)


def choose_binarisation(model: EncoderDecoder, binarise: Binarise | None) -> Binarise:
    """The requested binarisation, or the default of the likelihood: `dynamic` for a Bernoulli, else `none`.

    Raises:
        InvalidParameter: The likelihood does not allow it.
    """
    if binarise is None:
        return "dynamic" if model.is_bernoulli else "none"
    validate_word(binarise, where="binarise", words=BINARISE)
    if binarise == "dynamic" and not model.is_bernoulli:
        raise InvalidParameter(
            "binarise",
            f"none for '{model.label}', whose likelihood is Gaussian and requires grey pixels",
            "dynamic",
            "Leave it out.",
        )
    return binarise


def binarised(
    model: EncoderDecoder, x: Float32Array, binarise: Binarise, *, seed: int, stream: int
) -> Float32Array:
    """The images whose likelihood is computed, of the shape of `x`.

    Args:
        model: Determines the likelihood.
        x: Valid images.
        binarise: The result of `choose_binarisation`.
        seed: Seed of the draw.
        stream: Stream of the draw; image i uses its row i.

    Raises:
        InvalidInput: A pixel is grey, the likelihood Bernoulli and `binarise` `none`.
    """
    if not model.is_bernoulli:
        return x
    if binarise == "none":
        _refuse_grey(x)
        return x
    noise = uniform_of(seed=seed, places=(Place(0, len(x), stream),), size=x[0].size)
    # The noise is in [0, 1): never below 0, always below 1, so both ends are certain.
    return (noise < x.reshape(len(x), -1)).astype(np.float32).reshape(x.shape)


def _refuse_grey(x: Float32Array) -> None:
    grey = (x != 0.0) & (x != 1.0)
    if grey.any():
        at = tuple(int(i) for i in np.unravel_index(int(grey.argmax()), grey.shape))
        raise InvalidInput(
            f"images{''.join(f'[{i}]' for i in at)}",
            "a pixel that is 0 or 1, because a Bernoulli likelihood applies to binary images",
            told_apart(float(x[at]), 0.0, 1.0),
            "Send binary images, or leave out binarise, which draws them from the grey levels.",
        )
