"""Codes with labels: how well they predict the label, and how evenly they fill their space.

Knows arrays and scikit-learn. Knows nothing of models, images or priors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

#: A cell with less than this part of its even share counts as empty.
EMPTY_BELOW = 0.1
_POINTS_A_CELL = 20
_MAX_SIDE = 10
#: lbfgs needs about a hundred iterations for 32 latents; this lets it continue if it needs more.
_MAX_ITERATIONS = 5000


def linear_probe_accuracy(
    codes: Float64[np.ndarray, "n latent"],
    labels: Int64[np.ndarray, " n"],
    *,
    test_codes: Float64[np.ndarray, "m latent"],
    test_labels: Int64[np.ndarray, " m"],
) -> float:
    """Share of test codes whose label a multinomial logistic regression on the codes predicts.

    The regression is fitted on standardised `codes` with scikit-learn's default penalty, ½‖w‖² plus the
    summed cross-entropy. It measures the part of the label that is linear in the code.

    Source:
        Alain & Bengio 2016, arXiv:1610.01644, section 3 (linear classifier probes).
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS))
    probe.fit(codes, labels)
    return float(probe.score(test_codes, test_labels))


def neighbour_agreement(
    codes: Float64[np.ndarray, "n latent"], labels: Int64[np.ndarray, " n"], *, neighbours: int
) -> float:
    """Share of the nearest other codes, by Euclidean distance, that have the same label as the code.

    Args:
        codes: More than `neighbours` of them.
        labels: One per code.
        neighbours: Number of nearest codes.
    """
    index = NearestNeighbors(n_neighbors=neighbours).fit(codes)
    # Without an argument a point is not its own neighbour.
    nearest = index.kneighbors(return_distance=False)
    return float((labels[nearest] == labels[:, np.newaxis]).mean())


@dataclass(frozen=True)
class Evenness:
    """How evenly points fill the plane, measured by the density that they should follow."""

    evenness: float
    """exp(entropy of the cells' shares) ÷ number of cells: 1 if all contain the same number."""
    empty: float
    """Share of cells with less than a tenth of their even share: holes."""
    side: int
    """Cells along each side of the square."""


def evenness(points: Float64[np.ndarray, "n 2"]) -> Evenness:
    """How evenly points that should follow N(0, I) fill the plane.

    The normal CDF maps the plane onto a square, in which N(0, I) is uniform. The square is divided into equal
    cells, 10 × 10 if there are enough points for 20 in each.
    """
    side = min(_MAX_SIDE, max(2, math.isqrt(len(points) // _POINTS_A_CELL)))
    uniform = torch.special.ndtr(torch.from_numpy(points)).numpy()
    square = np.minimum((uniform * side).astype(np.int64), side - 1)
    counts = np.bincount(square[:, 0] * side + square[:, 1], minlength=side * side)
    shares = counts / len(points)
    filled = shares[shares > 0.0]
    entropy = -float((filled * np.log(filled)).sum())
    return Evenness(
        evenness=math.exp(entropy) / side**2,
        empty=float((shares * side**2 < EMPTY_BELOW).mean()),
        side=side,
    )


def whitened(codes: Float64[np.ndarray, "n latent"]) -> Float64[np.ndarray, "n latent"]:
    """Codes after the affine map to mean 0 and covariance I, which removes their own scale."""
    centred = codes - codes.mean(axis=0)
    covariance = centred.T @ centred / len(codes)
    # A constant code has no scale to remove; it stays at 0.
    floor = 1e-9 * max(float(np.trace(covariance)), 1e-9)
    factor = np.linalg.cholesky(covariance + floor * np.eye(codes.shape[1]))
    return np.asarray(np.linalg.solve(factor, centred.T).T)
