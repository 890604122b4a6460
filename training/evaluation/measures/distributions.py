"""Distances between two sets of vectors or scores: Fréchet distance, density and coverage, AUROC.

Knows arrays and scikit-learn. Knows nothing of images or of the network that made the features, though
figures are comparable only for the same network.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from sklearn.metrics import pairwise_distances_chunked, roc_auc_score
from sklearn.neighbors import NearestNeighbors


def frechet_distance(a: Float64[np.ndarray, "n feature"], b: Float64[np.ndarray, "m feature"]) -> float:
    """Squared Wasserstein-2 distance between the Gaussians with the means and covariances of two sets.

    ‖μa - μb‖² + tr(Σa + Σb - 2 (Σa^½ Σb Σa^½)^½). Zero for equal sets. It falls as sets grow, towards its
    value for the distributions themselves: compare sets of one size, together with a real-against-real floor.

    Source:
        Heusel et al. 2017, arXiv:1706.08500, equation 6 (after Dowson & Landau 1982); the root is taken
        of a symmetric matrix here, so no imaginary parts appear.
    """
    mean_a, covariance_a = _moments(a)
    mean_b, covariance_b = _moments(b)
    values, vectors = np.linalg.eigh(covariance_a)
    root_a = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # tr (Σa^½ Σb Σa^½)^½; rounding may leave an eigenvalue of a singular matrix just below 0.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root_a @ covariance_b @ root_a), 0.0)).sum()
    distance = (
        np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * cross
    )
    return max(0.0, float(distance))


def _moments(
    features: Float64[np.ndarray, "n feature"],
) -> tuple[Float64[np.ndarray, " feature"], Float64[np.ndarray, "feature feature"]]:
    mean = features.mean(axis=0)
    centred = features - mean
    return mean, centred.T @ centred / max(1, len(features) - 1)


def density_and_coverage(
    real: Float64[np.ndarray, "n feature"], fake: Float64[np.ndarray, "m feature"], *, neighbours: int
) -> tuple[float, float]:
    """How densely generated examples surround real ones, and how many real ones they reach.

    Every real example has a ball that reaches to its k-th nearest real neighbour. Density is the number of
    balls that contain a generated example, divided by k: about 1 for the real distribution, and above 1 if
    samples crowd together. Coverage is the share of balls with a generated example in them.

    Args:
        real: More than `neighbours` of them.
        fake: As many as real ones, for comparable figures.
        neighbours: k.

    Returns:
        (density, coverage).

    Source:
        Naeem et al. 2020, arXiv:2002.09797, section 3.
    """
    distances, _ = NearestNeighbors(n_neighbors=neighbours).fit(real).kneighbors()
    radii = distances[:, -1]
    hits, met = 0, np.zeros(len(real), dtype=bool)
    for block in pairwise_distances_chunked(fake, real):
        inside = block <= radii
        hits += int(inside.sum())
        met |= inside.any(axis=0)
    return hits / (neighbours * len(fake)), float(met.mean())


def auroc(inside: Float64[np.ndarray, " n"], outside: Float64[np.ndarray, " m"]) -> float:
    """Probability that an example of the first kind has the higher score; ties count half.

    1 if a threshold on the score separates the two kinds without error, ½ if the score has no information,
    below ½ if the second kind scores higher.
    """
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
