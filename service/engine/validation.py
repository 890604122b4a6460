"""Arrays and numbers that a caller hands to a model, checked before anything runs.

Knows shapes, dtypes and ranges. Knows nothing of sessions, bytes or HTTP. What is refused here can only fail
its own caller; what is accepted never makes onnxruntime raise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.engine.errors import InvalidInput
from service.engine.sampling import LARGEST_SEED

#: Largest |z|. A prior draw beyond 8.3 does not exist and encoders stay within tens; far beyond, products of
#: float32 overflow inside a decoder and come back as NaN.
LATENT_BOUND: Final = 10_000.0
#: Largest temperature: eps is multiplied by it, and beyond a few units every decoder saturates.
LARGEST_TEMPERATURE: Final = 10.0


def validate_images(
    x: NDArray[np.float32], *, shape: Sequence[int], max_batch: int, model: str
) -> NDArray[np.float32]:
    """`x` as the encoder takes it: C-contiguous float32 of shape (batch, C, H, W), values in [0, 1].

    Raises:
        InvalidInput: Names the array or the first image at fault.
    """
    x = _validate_rows(
        x, where="images", axes="channels first", shape=shape, max_batch=max_batch, model=model
    )
    # NaN fails both comparisons.
    if not (x.min() >= 0.0 and x.max() <= 1.0):
        at = _first(~((x >= 0.0) & (x <= 1.0)))
        raise InvalidInput(
            f"images{_path(at)}", "a pixel in [0, 1]", f"{float(x[at]):g}", "Divide 8-bit pixels by 255."
        )
    return x


def validate_latents(z: NDArray[np.float32], *, size: int, max_batch: int, model: str) -> NDArray[np.float32]:
    """`z` as the decoder takes it: C-contiguous float32 of shape (batch, latent), each |value| ≤
    `LATENT_BOUND`.

    Raises:
        InvalidInput: Names the array or the first value at fault.
    """
    z = _validate_rows(
        z, where="z", axes="one row per image", shape=(size,), max_batch=max_batch, model=model
    )
    if not (z.min() >= -LATENT_BOUND and z.max() <= LATENT_BOUND):
        at = _first(~(np.abs(z) <= LATENT_BOUND))
        raise InvalidInput(
            f"z{_path(at)}",
            f"a finite number within ±{LATENT_BOUND:g}",
            f"{float(z[at]):g}",
            "The prior is N(0, 1): values within ±4 draw what the model has learned.",
        )
    return z


def validate_count(n: int, *, max_batch: int) -> int:
    """A number of samples, 1 … max_batch."""
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= max_batch:
        raise InvalidInput("n", f"an integer from 1 to {max_batch}", _number(n), "Ask for fewer at a time.")
    return n


def validate_seed(seed: int) -> int:
    """A seed, 0 … 2⁵³ - 1, so that JSON carries it unharmed."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(
            "seed",
            f"an integer from 0 to {LARGEST_SEED}",
            _number(seed),
            "Leave it out to have one drawn and told.",
        )
    return seed


def validate_temperature(temperature: float) -> float:
    """A factor on eps, 0 … `LARGEST_TEMPERATURE`; 0 gives means of what is drawn from, 1 the prior itself."""
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not 0.0 <= temperature <= LARGEST_TEMPERATURE:
        raise InvalidInput(
            "temperature",
            f"a number from 0 to {LARGEST_TEMPERATURE:g}",
            _number(temperature),
            "1 samples the prior as it is; smaller values stay nearer to typical images.",
        )
    return float(temperature)


def _validate_rows(
    rows: NDArray[np.float32], *, where: str, axes: str, shape: Sequence[int], max_batch: int, model: str
) -> NDArray[np.float32]:
    """Type, dtype, rank, shape and batch size; then C-contiguous."""
    wanted = f"float32 of shape (batch, {', '.join(map(str, shape))}), {axes}, for '{model}'"
    if not isinstance(rows, np.ndarray):
        raise InvalidInput(where, wanted, type(rows).__name__, "Give a NumPy array.")
    if rows.dtype != np.float32:
        raise InvalidInput(
            where, wanted, f"dtype {rows.dtype}"[:80], "Convert it with .astype(numpy.float32)."
        )
    if rows.shape[1:] != tuple(shape) or rows.ndim == 0:
        raise InvalidInput(where, wanted, f"shape {rows.shape[:8]}", _shape_remedy(rows.shape, tuple(shape)))
    if not 1 <= len(rows) <= max_batch:
        remedy = "Send at least one." if len(rows) == 0 else "Send them in several requests."
        raise InvalidInput(where, f"1 to {max_batch} rows", f"{len(rows)} rows", remedy)
    return np.ascontiguousarray(rows)


def _shape_remedy(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if got == wanted:
        return "Add the batch axis in front, even for one."
    if len(wanted) == 3 and wanted[0] == 1 and got[1:] == wanted[1:]:
        return "Add the channel axis."
    if len(got) == 4 and got[1:] == (*wanted[1:], wanted[0]):
        return "Move the channels to the front."
    return "Send rows of exactly that shape."


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))


def _path(index: tuple[int, ...]) -> str:
    return "".join(f"[{i}]" for i in index)


def _number(value: object) -> str:
    """A number as it is, within reason; anything else by its type only, because it may be a client's text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
    return f"{value:g}" if math.isfinite(value) else str(value)
