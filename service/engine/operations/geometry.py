"""Paths through latent space: between two points, and along one coordinate.

Knows vectors, angles and quantiles. Knows nothing of models or images. Everything is computed in float64 and
rounded once, to the float32 of a decoder's input.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, Literal, get_args

import numpy as np

from service.engine.operations.arrays import Float32Array, Float64Array

Method = Literal["lerp", "slerp"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
Spacing = Literal["quantile", "linear"]
SPACINGS: Final[tuple[Spacing, ...]] = get_args(Spacing)
DEFAULT_STEPS: Final = 8
#: The central 95 % of a standard-normal coordinate.
DEFAULT_SPAN: Final = 2.0

#: Radians. Nearer to 0 the arc differs from the straight line by less than its float32 rounding; as near to
#: π, rounding errors would determine the direction of the arc.
_NO_ARC: Final = 1e-6


def interpolation_path(ends: Float32Array, *, steps: int, method: Method) -> Float32Array:
    """Points from one latent to another, evenly spaced, both ends included to the bit.

    Args:
        ends: The two latents, shape (2, latent).
        steps: Number of points, at least 2.
        method: `lerp` is the straight line. `slerp` follows a great circle in direction, while the length
            changes linearly. It falls back to the straight line if there is no such circle (one end is zero,
            or both have the same direction) or no unique one (opposite directions).

    Returns:
        Shape (steps, latent).

    Source:
        White 2016, arXiv:1609.04468, section 2.1, after Shoemake 1985: between draws from a Gaussian of many
        dimensions the straight line is shorter than almost any draw, the arc is not. Departure: direction and
        length are interpolated separately. The paper's formula on ends of unequal length leaves the range
        between their lengths, without bound as their directions become opposite.
    """
    a, b = ends.astype(np.float64)
    t = np.linspace(0.0, 1.0, steps)[:, np.newaxis]
    points = (1.0 - t) * a + t * b
    if method == "slerp":
        points = _arc(a, b, t, straight=points)
    path: Float32Array = points.astype(np.float32)
    path[0], path[-1] = ends
    return path


def grid(*, steps: int, spacing: Spacing, span: float) -> Float64Array:
    """Values of one coordinate from -span to +span, symmetric around 0.

    Args:
        steps: Number of values, at least 2.
        spacing: `quantile`: the prior N(0, 1) has equal mass between any two neighbours. `linear`: equal
            distances.
        span: Standard deviations of the prior, above 0 and at most 10.

    Source:
        Kingma & Welling 2013, arXiv:1312.6114, appendix A, figure 4: evenly spaced coordinates of the unit
        square are mapped by the inverse CDF of the Gaussian. Here they span the mass within ±`span`, because
        the square's own edges would be mapped to infinity.
    """
    half = steps // 2
    if spacing == "linear":
        upper = span * (1.0 - 2.0 * np.arange(half) / (steps - 1))
    else:
        # From the lower tail, where small probabilities have full precision.
        lowest = 0.5 * math.erfc(span / math.sqrt(2.0))
        width = (1.0 - 2.0 * lowest) / (steps - 1)
        upper = np.array([-NormalDist().inv_cdf(lowest + i * width) for i in range(half)])
        upper[0] = span
    middle = [0.0] * (steps % 2)
    return np.concatenate([-upper, middle, upper[::-1]])


def _arc(a: Float64Array, b: Float64Array, t: Float64Array, *, straight: Float64Array) -> Float64Array:
    length_a, length_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if length_a == 0.0 or length_b == 0.0:
        return straight
    unit_a, unit_b = a / length_a, b / length_b
    # Kahan's form: the arc cosine of a scalar product has no precision near 0 and near π.
    angle = 2.0 * math.atan2(float(np.linalg.norm(unit_a - unit_b)), float(np.linalg.norm(unit_a + unit_b)))
    if angle < _NO_ARC or math.pi - angle < _NO_ARC:
        return straight
    direction = (np.sin((1.0 - t) * angle) * unit_a + np.sin(t * angle) * unit_b) / math.sin(angle)
    return ((1.0 - t) * length_a + t * length_b) * direction
