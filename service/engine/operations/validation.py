"""Validation of the arrays and numbers of a call, before any run.

Knows shapes, dtypes and ranges. Knows nothing of sessions, bytes or HTTP. Invalid input fails its own call
alone; valid input never makes onnxruntime raise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_store.numbers import told_apart
from service.engine.errors import InvalidInput, InvalidParameter
from service.engine.operations.noise import LARGEST_SEED

#: Largest |z|. No prior draw exceeds 8.3 and encoders stay within tens. Far beyond, products of float32
#: overflow inside a decoder and become NaN.
LATENT_BOUND: Final = 10_000.0
#: Largest temperature: a factor on eps; beyond a few units every decoder saturates.
LARGEST_TEMPERATURE: Final = 10.0
_ONE: Final = np.float32(1.0).view(np.uint32)
#: Smallest and largest span of a traversal, in standard deviations of the prior: below the one nothing
#: changes, above the other every decoder saturates.
SMALLEST_SPAN: Final = 0.001
LARGEST_SPAN: Final = 10.0
MOST_DIMS: Final = 2


def validate_images(
    x: NDArray[np.float32], *, shape: Sequence[int], max_batch: int, model: str, is_bounded: bool = True
) -> NDArray[np.float32]:
    """`x` as the encoder requires it: C-contiguous float32 of shape (batch, C, H, W), values in [0, 1].

    Unless they are bounded, the values are no pixels, and any finite ones.

    Raises:
        InvalidInput: Names the array or the first invalid image.
    """
    x = _validate_rows(
        x, where="images", axes="channels first", shape=shape, max_batch=max_batch, model=model
    )
    if not is_bounded:
        if not np.isfinite(x).all():
            at = _first(~np.isfinite(x))
            raise InvalidInput(
                f"images{_path(at)}", "a finite number", str(float(x[at])), "Send finite numbers."
            )
        return x
    # The bits of 0 … 1 have the order of the numbers, and those of NaN and of negative numbers are larger:
    # one pass instead of two. A negative number may still be -0.0. NaN fails both comparisons.
    if np.maximum.reduce(x.view(np.uint32), axis=None) > _ONE and not (x.min() >= 0.0 and x.max() <= 1.0):
        at = _first(~((x >= 0.0) & (x <= 1.0)))
        raise InvalidInput(
            f"images{_path(at)}",
            "a pixel in [0, 1]",
            told_apart(float(x[at]), 0.0, 1.0),
            "Divide 8-bit pixels by 255.",
        )
    return x


def validate_latents(
    z: NDArray[np.float32], *, size: int, max_batch: int, model: str, where: str = "z"
) -> NDArray[np.float32]:
    """`z` as the decoder requires it: C-contiguous float32 of shape (batch, latent).

    Each |value| is at most `LATENT_BOUND`. `where` is the array's name, for messages.

    Raises:
        InvalidInput: Names the array or the first invalid value.
    """
    z = _validate_rows(
        z, where=where, axes="one row per image", shape=(size,), max_batch=max_batch, model=model
    )
    if not (z.min() >= -LATENT_BOUND and z.max() <= LATENT_BOUND):
        at = _first(~(np.abs(z) <= LATENT_BOUND))
        raise InvalidInput(
            f"{where}{_path(at)}",
            f"a finite number within ±{LATENT_BOUND:g}",
            told_apart(float(z[at]), -LATENT_BOUND, LATENT_BOUND),
            "The prior is N(0, 1): the model was trained on values within about ±4.",
        )
    return z


def validate_integer(
    value: int,
    *,
    where: str,
    least: int,
    most: int,
    remedy: str,
    note: str = "",
    error: type[InvalidInput] = InvalidParameter,
) -> int:
    """An integer from `least` to `most`; a bool is none.

    Args:
        value: The number.
        where: Its name, for the message.
        least: Smallest valid value.
        most: Largest valid value.
        remedy: The remedy for the caller.
        note: Added to the expected range.
        error: Class of the error.

    Raises:
        InvalidInput: It is no such integer; of class `error`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise error(where, f"an integer from {least} to {most}{note}", _number(value), remedy)
    return value


def validate_count(n: int, *, max_batch: int) -> int:
    """A number of samples, 1 … max_batch."""
    return validate_integer(
        n, where="n", least=1, most=max_batch, remedy="Request fewer at a time.", error=InvalidInput
    )


def validate_seed(seed: int) -> int:
    """A seed, 0 … 2⁵³ - 1, which JSON readers represent exactly."""
    return validate_integer(
        seed,
        where="seed",
        least=0,
        most=LARGEST_SEED,
        remedy="Leave it out for a random one, which the response contains.",
        error=InvalidInput,
    )


def validate_temperature(temperature: float) -> float:
    """A factor on eps, 0 … `LARGEST_TEMPERATURE`; 0 yields the means of the prior, 1 the prior itself."""
    return _validate_real(
        temperature,
        where="temperature",
        least=0.0,
        most=LARGEST_TEMPERATURE,
        remedy="1 leaves the prior unchanged; smaller values yield more typical images.",
        error=InvalidInput,
    )


def validate_row_count(rows: NDArray[Any], *, where: str, count: int, of: str) -> None:
    """Exactly `count` rows, described by `of`: `the two ends`."""
    if len(rows) != count:
        raise InvalidInput(where, f"exactly {count}, {of}", str(len(rows)), f"Send {count}.")


def validate_steps(steps: int, *, most: int, axes: int = 1) -> int:
    """Points along each of `axes` axes, at least 2; all points together are at most `most` images."""
    return validate_integer(
        steps,
        where="steps",
        least=2,
        most=math.isqrt(most) if axes == 2 else most,
        remedy="Request fewer at a time.",
        note=" along each of two dims" if axes == 2 else "",
    )


def validate_dims(dims: Sequence[int], *, size: int, model: str) -> tuple[int, ...]:
    """One or two different indices of latents, each 0 … size - 1."""
    if isinstance(dims, str) or not isinstance(dims, Sequence) or not 1 <= len(dims) <= MOST_DIMS:
        got = f"{len(dims)} of them" if isinstance(dims, Sequence) else type(dims).__name__
        raise InvalidParameter("dims", "one or two latent indices", got, "Such as [0, 1].")
    for at, index in enumerate(dims):
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
            raise InvalidParameter(
                f"dims[{at}]",
                f"a latent index of '{model}', an integer from 0 to {size - 1}",
                _number(index),
                "Latents are counted from 0.",
            )
    if len(set(dims)) < len(dims):
        raise InvalidParameter("dims", "two different latent indices", f"{dims[0]} twice", "Send it once.")
    return tuple(dims)


def validate_span(span: float) -> float:
    """Extent of a grid, `SMALLEST_SPAN` … `LARGEST_SPAN` standard deviations of the prior."""
    return _validate_real(
        span,
        where="span",
        least=SMALLEST_SPAN,
        most=LARGEST_SPAN,
        remedy="The model was trained within about ±3.",
    )


def validate_word(word: str, *, where: str, words: Sequence[str]) -> None:
    """One of `words`."""
    if word not in words:
        raise InvalidParameter(
            where, " or ".join(words), type(word).__name__ + " that is neither", f"Such as {words[0]}."
        )


def validate_draws(samples: int, *, images: int, most: int) -> int:
    """Posterior draws for each of `images` images, at least 1; `most` draws for all of them together."""
    each = most // images
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise InvalidParameter(
            "importance_samples", f"an integer from 1 to {each}", _number(samples), "Leave it out for none."
        )
    if samples > each:
        raise InvalidParameter(
            "importance_samples",
            f"at most {most} draws for all images together, which is {each} for each of {images}",
            _number(samples),
            "Request fewer, or send the images in several requests.",
        )
    return samples


def _validate_real(
    value: float,
    *,
    where: str,
    least: float,
    most: float,
    remedy: str,
    error: type[InvalidInput] = InvalidParameter,
) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise error(where, f"a number from {least:g} to {most:g}", _number(value), remedy)
    return float(value)


def _validate_rows(
    rows: NDArray[np.float32], *, where: str, axes: str, shape: Sequence[int], max_batch: int, model: str
) -> NDArray[np.float32]:
    """Type, dtype, rank, shape and batch size; then C-contiguous."""

    def wanted() -> str:  # built only for an error
        return f"float32 of shape (batch, {', '.join(map(str, shape))}), {axes}, for '{model}'"

    if not isinstance(rows, np.ndarray):
        raise InvalidInput(where, wanted(), type(rows).__name__, "Pass a NumPy array.")
    if rows.dtype != np.float32:
        raise InvalidInput(
            where, wanted(), f"dtype {rows.dtype}"[:80], "Convert it with .astype(numpy.float32)."
        )
    if rows.shape[1:] != tuple(shape) or rows.ndim == 0:
        raise InvalidInput(
            where, wanted(), f"shape {rows.shape[:8]}", _shape_remedy(rows.shape, tuple(shape))
        )
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
    """A number itself, if it is short; any other value by its type, because it may be a client's text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
    return str(value)
