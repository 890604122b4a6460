"""From the scores of normal images to thresholds, and from a score to its quantile and its flag.

Knows arrays, quantiles and ranks. Knows nothing of models or of how a score is computed.

The threshold of a figure is the k-th smallest of n values, k = ⌈(n + 1)(1 - rate)⌉. A new normal image
exceeds it with a probability of at most `rate`, and of at least rate - 1 / (n + 1) if no values are equal.

Source:
    Conformal prediction: Lei et al. 2018, arXiv:1604.04173, theorem 2.2; Angelopoulos & Bates 2021,
    arXiv:2107.07511, theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_store.calibration import FIGURES, CalibratedFigure, Calibration, Figure

Float64Array = NDArray[np.float64]

#: Shares of normal images whose quantiles are stored: finer near the ends, where thresholds are.
_LEVELS: Final = (
    *(0.0, 0.001, 0.002, 0.005),
    *(percent / 100 for percent in range(1, 100)),
    *(0.995, 0.998, 0.999, 1.0),
)


def calibrated(
    normal: Mapping[Figure, Float64Array],
    *,
    rate: float,
    other: Mapping[Figure, Float64Array] | None,
    binarise: Literal["dynamic", "none"],
    flagged_by: Figure,
    data: str,
    against: str | None,
    protocol: str,
) -> Calibration:
    """Thresholds, quantiles and, against other images, the AUROC of each figure.

    Args:
        normal: The figures of the normal images, each (N,).
        rate: The share of further normal images to flag.
        other: The figures of other images, if there are any.
        binarise: As of the scores.
        flagged_by: The figure that flags.
        data: Description of the normal images.
        against: Description of the other images.
        protocol: How both were scored.

    Raises:
        ValueError: Too few normal images, or a figure that is not finite.
    """
    return Calibration(
        rate=rate,
        images=len(normal[flagged_by]),
        binarise=binarise,
        flagged_by=flagged_by,
        levels=_LEVELS,
        figures=tuple(
            CalibratedFigure(
                name=name,
                threshold=threshold(normal[name], rate=rate),
                values=tuple(np.quantile(normal[name], _LEVELS).tolist()),
                auroc=None if other is None else auroc(normal[name], other[name]),
            )
            for name in FIGURES
        ),
        data=data,
        against=against,
        protocol=protocol,
    )


def threshold(values: Float64Array, *, rate: float) -> float:
    """The k-th smallest value, k = ⌈(n + 1)(1 - rate)⌉: see the module."""
    count = len(values)
    rank = math.ceil((count + 1) * (1.0 - rate) - 1e-9)
    return float(np.sort(values)[min(rank, count) - 1])


def auroc(normal: Float64Array, other: Float64Array) -> float:
    """P(other > normal) + ½ P(other = normal) for one of each: the area under the ROC curve.

    Source:
        The Mann-Whitney statistic: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, other, side="left")
    up_to = np.searchsorted(ordered, other, side="right")
    return float((below + up_to).mean() / (2 * len(normal)))


def quantiles(calibration: Calibration, name: Figure, values: Float64Array) -> Float64Array:
    """The share of normal images with a smaller value, for each value; linear between the levels."""
    return np.interp(values, calibration.figure(name).values, calibration.levels)


def flags(calibration: Calibration, values: Float64Array) -> NDArray[np.bool_]:
    """Whether each value of the figure `flagged_by` exceeds its threshold."""
    flagged: NDArray[np.bool_] = values > calibration.figure(calibration.flagged_by).threshold
    return flagged
