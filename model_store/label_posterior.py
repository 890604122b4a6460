"""p(y|u) of a learned prior: the probability of each label, by the mixtures of u.

Knows the mixtures, and float arithmetic. Knows nothing of noise, graphs or files.

    p(y|u) = share_y p(u|y) / Σ_y' share_y' p(u|y')

It decides about the draws of a requested label (`label_draws`), and a seed must choose the same draw on every
machine. So p(y|u) comes from operations that IEEE 754 rounds in one way only, each by itself and in a fixed
order: +, -, ×, ÷, rounding to an integer and scaling by a power of two. Matrix products and exponentials of
libraries differ in the last bit between processors. float32 is enough for the distances: p(y|u) is exact to
about 1e-6 for 32 latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_store.prior import GaussianMixture

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

#: Numbers of a temporary array, to fit the cache: 17 rows of 120 Gaussians over 32 latents are 256 kB.
_MAX_NUMBERS: Final = 65_536
#: ln 2 = high + low (fdlibm, e_exp.c): the products of `high` with small integers are exact.
_LN_2_HIGH: Final = 6.93147180369123816490e-01
_LN_2_LOW: Final = 1.90821492927058770002e-10
_LOG2_E: Final = 1.4426950408889634
#: Taylor series of exp, highest power first: relative error below 1e-16 within ± ln 2 / 2.
_EXP: Final = tuple(1.0 / math.factorial(power) for power in range(13, -1, -1))
#: A squared distance from which on a Gaussian has no part in a sum, even an overflow.
_FAR: Final = 1e12
#: Smallest exponent of two of a part of a sum; the largest part has 0.
_SMALLEST: Final = -1000


class LabelPosterior:
    """p(y|u) of the mixtures of a learned prior."""

    def __init__(self, mixtures: Sequence[GaussianMixture], shares: Sequence[float]) -> None:
        """Arrange the numbers of all labels' Gaussians by latent.

        Args:
            mixtures: That of each label.
            shares: p(y) of each label.
        """
        counts = [len(mixture.weights) for mixture in mixtures]
        cholesky = np.concatenate([mixture.cholesky for mixture in mixtures])
        means = np.concatenate([mixture.means for mixture in mixtures])
        self._latent = means.shape[1]
        self._means = np.ascontiguousarray(means.T)[:, np.newaxis, :]
        self._diagonal = np.ascontiguousarray(np.diagonal(cholesky, axis1=1, axis2=2).T)
        by_column = cholesky.transpose(2, 1, 0)
        self._below = [
            np.ascontiguousarray(column[latent + 1 :])[:, np.newaxis, :]
            for latent, column in enumerate(by_column)
        ]
        weights = np.concatenate(
            [mixture.weights * share for mixture, share in zip(mixtures, shares, strict=True)]
        )
        # weight / √|Σ| = mantissa · 2^exponent, which no number of latents can make overflow.
        self._mantissa, self._exponent = np.frexp(weights)
        for row in self._diagonal:
            self._mantissa, more = np.frexp(self._mantissa / row.astype(np.float64))
            self._exponent = self._exponent + more
        ends = np.cumsum(counts)
        self._of_label = [range(end - count, end) for end, count in zip(ends.tolist(), counts, strict=True)]

    def probability(self, u: Float32Array, *, label: int) -> Float64Array:
        """p(y|u) of one label for each row of `u` (rows, latent): (rows,), the same in every batch.

        Args:
            u: Finite.
            label: Its number, in the order of the mixtures.
        """
        found = np.empty(len(u))
        at_once = max(1, _MAX_NUMBERS // (self._latent * len(self._mantissa)))
        for part in _parts(len(u), at_once):
            terms = self._terms(self._distances(u[part]))
            labels = [_sum(terms, columns) for columns in self._of_label]
            total = labels[0]
            for each in labels[1:]:
                total = total + each
            found[part] = labels[label] / total
        return found

    def _distances(self, u: Float32Array) -> Float32Array:
        """Squared Mahalanobis distance of each row from each Gaussian, by forward substitution."""
        left = np.ascontiguousarray(u.T)[:, :, np.newaxis] - self._means
        squared = np.zeros(left.shape[1:], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # see `_FAR`
            for latent, below in enumerate(self._below):
                whitened = left[latent] / self._diagonal[latent]
                squared += whitened * whitened
                left[latent + 1 :] -= below * whitened
        return squared

    def _terms(self, squared: Float32Array) -> Float64Array:
        """weight · N(u) of each Gaussian, up to a factor that each row has in common."""
        exponent = -0.5 * np.nan_to_num(squared.astype(np.float64), nan=_FAR, posinf=_FAR)
        twos = np.rint(exponent * _LOG2_E)
        rest = (exponent - twos * _LN_2_HIGH) - twos * _LN_2_LOW
        power = np.full_like(rest, _EXP[0])
        for coefficient in _EXP[1:]:
            power *= rest
            power += coefficient
        scale = twos + self._exponent
        scale -= scale.max(axis=1, keepdims=True)
        scale = np.maximum(scale, _SMALLEST).astype(np.int32)
        return np.asarray(np.ldexp(self._mantissa * power, scale))


def _sum(terms: Float64Array, columns: range) -> Float64Array:
    """The columns added in their order."""
    total = terms[:, columns[0]].copy()
    for column in columns[1:]:
        total += terms[:, column]
    return total


def _parts(rows: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))
