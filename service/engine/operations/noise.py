"""Noise that never changes: row i of seed s, independent of all other rows.

Knows seeds, streams, rows and bits. Knows nothing of models. A seed has many streams, which never meet: a
draw for one purpose does not change the draws for another.

Two halves, so that no library can change an image that belongs to a seed:

* Bits come from Philox 4x64-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as
  easy as 1, 2, 3", section 3.3). The key is the seed, and each row owns its own block of counters, so a row
  is computed without the rows before it. NumPy promises the raw bits of its bit generators for ever (NEP 19);
  a test compares them with an implementation of the paper.
* Bits become normal deviates here, because NumPy does *not* promise `Generator.standard_normal` across
  versions. Only +, -, ×, ÷, √ and comparisons of float64 are used, each of which IEEE 754 rounds in one way
  only; logarithms of the C library or of a vector unit differ in the last bit between machines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: JSON readers, JavaScript's in particular, represent integers exactly up to here.
LARGEST_SEED: Final = 2**53 - 1
_WORDS_PER_COUNTER = 4
#: Up to this many numbers in the tails are computed one by one: 1 µs each, and NumPy takes 60 for any number.
_FEW: Final = 40
_ODD_RECIPROCALS: Final = tuple(1.0 / odd for odd in range(21, 0, -2))
#: Counters of one stream: no number of rows reaches the next one.
_COUNTERS_PER_STREAM_BITS = 128


@dataclass(frozen=True, slots=True)
class Place:
    """`rows` rows of one stream of a seed, from row `first` on."""

    first: int
    rows: int
    stream: int = 0
    """0 … 2¹²⁸ - 1."""


#: Second word of the key, which is 0 for the noise: a stream that no seed of noise can reach.
_UNIFORM_STREAM: Final = 1 << 64


def new_seed() -> int:
    """A random seed, 0 … 2⁵³ - 1, from the operating system."""
    return int.from_bytes(os.urandom(8), "little") & LARGEST_SEED


def standard_normal(*, seed: int, first_row: int, rows: int, size: int) -> NDArray[np.float32]:
    """Noise eps ~ N(0, I) for rows `first_row` … `first_row + rows - 1` of a seed, in its stream 0.

    Args:
        seed: 0 … 2⁵³ - 1.
        first_row: Index of the first row; rows 5 … 9 equal the same rows of rows 0 … 9.
        rows: Number of rows.
        size: Values in one row, the latent size. It identifies the row: rows of another size are other draws.

    Returns:
        float32, shape (rows, size), every value within ±8.3.
    """
    return standard_normal_of(seed=seed, places=(Place(first_row, rows),), size=size)


def standard_normal_of(*, seed: int, places: Iterable[Place], size: int) -> NDArray[np.float32]:
    """The same for any rows of any streams, one after the other.

    Args:
        seed: 0 … 2⁵³ - 1.
        places: The rows, at least one.
        size: Values in one row, which identifies the row.

    Returns:
        float32, shape (rows of all places, size).
    """
    return _normal_from_bits(_bits(seed, places, size)).astype(np.float32)


def uniform_of(*, seed: int, places: Iterable[Place], size: int) -> NDArray[np.float64]:
    """Noise u ~ U[0, 1) for the same rows: multiples of 2⁻⁵², so 0 is possible and 1 is not.

    A row contains the bits of the standard-normal row of the same place and size: use another stream.

    Args:
        seed: 0 … 2⁵³ - 1.
        places: The rows, at least one.
        size: Values in one row, which identifies the row.

    Returns:
        float64, shape (rows of all places, size).
    """
    return _upper_52(_bits(seed, places, size)) * 2.0**-52


def _bits(seed: int, places: Iterable[Place], size: int) -> NDArray[np.uint64]:
    """64 random bits for each value."""
    counters_per_row = -(-size // _WORDS_PER_COUNTER)
    words = []
    for place in places:
        counter = (place.stream << _COUNTERS_PER_STREAM_BITS) + place.first * counters_per_row
        generator = np.random.Philox(key=seed, counter=counter)
        words.append(generator.random_raw(place.rows * counters_per_row * _WORDS_PER_COUNTER))
    together = words[0] if len(words) == 1 else np.concatenate(words)
    return np.asarray(together, dtype=np.uint64).reshape(-1, counters_per_row * _WORDS_PER_COUNTER)[:, :size]


def _upper_52(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """k = 0 … 2⁵² - 1, exact in float64."""
    return (bits >> np.uint64(12)).astype(np.float64)


def uniform(*, seed: int, first_row: int, rows: int, stream: int = 0) -> NDArray[np.float64]:
    """One number in (0, 1) for each row of a seed, from a separate stream without noise.

    Args:
        seed: 0 … 2⁵³ - 1.
        first_row: Index of the first row, as in `standard_normal`.
        rows: Number of rows.
        stream: As in `Place`.

    Returns:
        float64, shape (rows,): (k + ½) / 2⁵², where k is the upper 52 bits of the row's first word; exact, so
        the same on every machine.
    """
    counter = (stream << _COUNTERS_PER_STREAM_BITS) + first_row
    generator = np.random.Philox(key=seed + _UNIFORM_STREAM, counter=counter)
    words = np.asarray(generator.random_raw(rows * _WORDS_PER_COUNTER), dtype=np.uint64)
    k = _upper_52(words[::_WORDS_PER_COUNTER])
    return (k + 0.5) * 2.0**-52


def _normal_from_bits(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The normal quantile of p = (k + ½) / 2⁵², where k is the upper 52 bits: exact, symmetric, never 0 or 1.

    Source:
        Wichura 1988, "The percentage points of the normal distribution", Applied Statistics 37(3),
        algorithm AS 241, PPND16: relative error about 1e-16.
    """
    k = _upper_52(bits)
    # p - ½, exact: k + ½ - 2⁵¹ has at most 53 significant bits.
    q = (k - (2.0**51 - 0.5)) * 2.0**-52
    q = q.ravel()
    normal = q * _ratio(0.180625 - q * q, _CENTRE)
    (tails,) = np.nonzero(np.abs(q) > 0.425)
    q_tail = q[tails]
    if len(tails) <= _FEW:
        normal[tails] = [math.copysign(_upper_tail_of_one(0.5 - abs(one)), one) for one in q_tail.tolist()]
    else:
        normal[tails] = np.copysign(_upper_tail(0.5 - np.abs(q_tail)), q_tail)
    return normal.reshape(bits.shape)


def _upper_tail(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The positive deviate whose upper tail has the mass p, for 0 < p < 0.075."""
    r = np.sqrt(-_log(p))
    deviate = _ratio(r - 1.6, _NEAR)
    far = r > 5.0
    if far.any():  # once in 4 · 10¹⁰ values
        deviate[far] = _ratio(r[far] - 5.0, _FAR)
    return deviate


def _log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of 0 < p < 1 from exactly rounded operations only; relative error below 1e-15.

    p = m · 2ᵉ with m in [√½, √2), and log m = 2 artanh((m - 1) / (m + 1)) as its series.
    """
    mantissa, exponent = np.frexp(p)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, 2.0 * mantissa, mantissa)
    exponent = exponent - small
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2 = s * s
    series = np.full_like(s2, 1.0 / 23.0)
    for term in _ODD_RECIPROCALS:
        series = series * s2 + term
    return 2.0 * s * series + exponent * 0.6931471805599453


def _upper_tail_of_one(p: float) -> float:
    """`_upper_tail` of one number, to the last bit: the same operations in the same order.

    NumPy takes as long for three numbers as for a thousand, and one image has about five in the tails.
    """
    r = math.sqrt(-_log_of_one(p))
    return _ratio_of_one(r - 5.0, _FAR_PAIRS) if r > 5.0 else _ratio_of_one(r - 1.6, _NEAR_PAIRS)


def _log_of_one(p: float) -> float:
    mantissa, exponent = math.frexp(p)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2 = s * s
    series = 1.0 / 23.0
    for term in _ODD_RECIPROCALS:
        series = series * s2 + term
    return 2.0 * s * series + exponent * 0.6931471805599453


def _ratio_of_one(r: float, coefficients: Sequence[tuple[float, float]]) -> float:
    above, below = coefficients[0]
    for one, other in coefficients[1:]:
        above = above * r + one
        below = below * r + other
    return above / below


def _ratio(r: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numerator over denominator, both by Horner's rule in one array.

    `coefficients` has a row for each power, the highest first. Multiplying and adding are two NumPy calls, so
    that nothing can fuse them into one rounding.
    """
    value = np.empty((2, *r.shape))
    value[:] = coefficients[0]
    for pair in coefficients[1:]:
        value *= r
        value += pair
    quotient: NDArray[np.float64] = value[0] / value[1]
    return quotient


def _pairs(numerator: tuple[float, ...], denominator: tuple[float, ...]) -> NDArray[np.float64]:
    """One row per power, ready to broadcast against (2, values): shape (powers, 2, 1)."""
    return np.array([numerator, denominator]).T[:, :, np.newaxis]


# AS 241, PPND16, highest power first: |p - ½| ≤ 0.425, then r ≤ 5 and r > 5 of the tails.
_CENTRE: Final = _pairs(
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
        1.3314166789178437745e2, 3.387132872796366608,
    ),
    (
        5.226495278852854561e3, 2.8729085735721942674e4, 3.930789580009271061e4,
        2.1213794301586595867e4, 5.3941960214247511077e3, 6.871870074920579083e2,
        4.2313330701600911252e1, 1.0,
    ),
)  # fmt: skip
_NEAR: Final = _pairs(
    (
        7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.4178072517745061177e-1,
        1.27045825245236838258, 3.64784832476320460504, 5.7694972214606914055,
        4.6303378461565452959, 1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2,
        1.4810397642748007459e-1, 6.8976733498510000455e-1, 1.6763848301838038494,
        2.05319162663775882187, 1.0,
    ),
)  # fmt: skip
_FAR: Final = _pairs(
    (
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.2426609473880784386e-3,
        2.6532189526576123093e-2, 2.9656057182850489123e-1, 1.7848265399172913358,
        5.4637849111641143699, 6.6579046435011037772,
    ),
    (
        2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5,
        7.868691311456132591e-4, 1.48753612908506148525e-2, 1.3692988092273580531e-1,
        5.9983220655588793769e-1, 1.0,
    ),
)  # fmt: skip
_NEAR_PAIRS: Final = [(one, other) for one, other in _NEAR[:, :, 0].tolist()]
_FAR_PAIRS: Final = [(one, other) for one, other in _FAR[:, :, 0].tolist()]
