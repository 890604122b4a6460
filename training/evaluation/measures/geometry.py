"""Paths from one code to another, and how evenly the decoded images change along them.

Knows arrays. Knows nothing of models or plots.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

#: Below this angle (radians) the arc is a straight line to rounding.
_STRAIGHT = 1e-6


def lerp(
    start: Float64[np.ndarray, "n latent"], end: Float64[np.ndarray, "n latent"], steps: int
) -> Float64[np.ndarray, "n steps latent"]:
    """Equal steps along the straight line, both ends included."""
    t = np.linspace(0.0, 1.0, steps)[:, np.newaxis]
    return np.asarray((1.0 - t) * start[:, np.newaxis] + t * end[:, np.newaxis])


def slerp(
    start: Float64[np.ndarray, "n latent"], end: Float64[np.ndarray, "n latent"], steps: int
) -> Float64[np.ndarray, "n steps latent"]:
    """Equal angles along the great circle, both ends included; lengths change linearly in the weights.

    sin((1 - t)Ω)/sin Ω · start + sin(tΩ)/sin Ω · end, Ω the angle between them. A draw from N(0, I) in many
    dimensions has a length close to √latent; this path keeps it and the straight line does not.

    Source:
        White 2016, arXiv:1609.04468, section 2.1 (after Shoemake 1985).
    """
    lengths = np.linalg.norm(start, axis=1) * np.linalg.norm(end, axis=1)
    pointing = lengths > 0.0
    # A code at the origin has no direction: treated as parallel, so that a straight line joins it too.
    cosine = np.where(pointing, (start * end).sum(axis=1) / np.where(pointing, lengths, 1.0), 1.0)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[:, np.newaxis, np.newaxis]
    t = np.linspace(0.0, 1.0, steps)[:, np.newaxis]
    sine = np.sin(angle)
    # Between ends with the same or opposite directions there is no unique arc: use the straight line.
    straight = np.abs(sine) < _STRAIGHT
    divisor = np.where(straight, 1.0, sine)
    first = np.where(straight, 1.0 - t, np.sin((1.0 - t) * angle) / divisor)
    second = np.where(straight, t, np.sin(t * angle) / divisor)
    return np.asarray(first * start[:, np.newaxis] + second * end[:, np.newaxis])


def largest_step(frames: Float64[np.ndarray, "n steps pixel"]) -> Float64[np.ndarray, " n"]:
    """Largest change between neighbouring frames of each path, in units of that path's mean change.

    A change is the root of the mean squared pixel difference. 1 if all changes are equal, `steps - 1` if
    everything changes at once. 1 also if nothing changes.
    """
    changes = np.sqrt(np.square(np.diff(frames, axis=1)).mean(axis=-1))
    mean = changes.mean(axis=1)
    still = mean == 0.0
    return np.asarray(np.where(still, 1.0, changes.max(axis=1) / np.where(still, 1.0, mean)))
