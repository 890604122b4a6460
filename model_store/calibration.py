"""Thresholds of scores in a manifest: the scores of normal images, and the value beyond which one is unusual.

Knows the three figures of a score and their order. Knows nothing of files, models or of how a score is
computed; `thresholds` computes these values. SPEC.md, section 19, states the same in MUST and MAY.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator

from model_store.strict_model import FiniteFloat, StrictModel, Text

Figure = Literal["reconstruction_nll", "kl", "negative_elbo"]
FIGURES: Final[tuple[Figure, ...]] = get_args(Figure)
#: Normal images that a rate needs: with ten times as many as give one false alarm, it is known to a third.
IMAGES_PER_ALARM: Final = 10
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class CalibratedFigure(StrictModel):
    """One figure of the normal images."""

    name: Figure
    """`reconstruction_nll`: -log p(x|z); `kl`: KL(q(z|x) ‖ p(z)); `negative_elbo`: their sum. In nats."""
    threshold: FiniteFloat
    """A larger value is unusual."""
    values: Annotated[tuple[FiniteFloat, ...], Field(min_length=2, max_length=1000)]
    """Quantiles of the normal images, at `levels`."""
    auroc: Share | None
    """Probability that an image of `against` has a larger value than a normal one; null without `against`."""


class Calibration(StrictModel):
    """The scores of normal images, by which others are flagged."""

    rate: Annotated[float, Field(gt=0.0, le=0.5, allow_inf_nan=False)]
    """The share of normal images that are flagged."""
    images: Annotated[int, Field(ge=1)]
    """Normal images that were scored."""
    binarise: Literal["dynamic", "none"]
    """As of a score; other scores are not comparable."""
    flagged_by: Figure
    """The figure whose threshold flags an image."""
    levels: Annotated[tuple[Share, ...], Field(min_length=2, max_length=1000)]
    """Shares of normal images, from 0 to 1."""
    figures: Annotated[tuple[CalibratedFigure, ...], Field(min_length=3, max_length=3)]
    """The three figures, in the order of `name`."""
    data: Text
    """The normal images."""
    against: Text | None
    """Other images, which a figure should tell from normal ones; null if there were none."""
    protocol: Text
    """How they were read and scored: enough to repeat it."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Calibration:
        if self.images < images_needed(self.rate):
            raise ValueError(
                f"images: expected at least {images_needed(self.rate)} for a rate of {self.rate:g}, got "
                f"{self.images}"
            )
        if tuple(figure.name for figure in self.figures) != FIGURES:
            raise ValueError(f"figures: expected {list(FIGURES)}, in this order")
        if self.levels[0] != 0.0 or self.levels[-1] != 1.0 or not _ascends(self.levels, strictly=True):
            raise ValueError("levels: expected ascending shares from 0 to 1")
        for figure in self.figures:
            if len(figure.values) != len(self.levels) or not _ascends(figure.values):
                raise ValueError(f"figures: {figure.name}: expected one ascending value for each level")
            if (figure.auroc is None) != (self.against is None):
                raise ValueError(f"figures: {figure.name}: expected auroc if there is `against`, only then")
        return self

    def figure(self, name: Figure) -> CalibratedFigure:
        """The figure of that name."""
        return self.figures[FIGURES.index(name)]


def images_needed(rate: float) -> int:
    """Normal images for a rate of false alarms."""
    return math.ceil(IMAGES_PER_ALARM / rate - 1e-9)


def _ascends(values: tuple[float, ...], *, strictly: bool = False) -> bool:
    return all(one < two or (one == two and not strictly) for one, two in pairwise(values))
