"""The learning rate of a run: a linear warm-up, then a cosine.

Knows steps and the section of a recipe. Knows nothing of weights or Lightning.
"""

from __future__ import annotations

import math

from training.config.sections import OptimiserConfig


def learning_rate_fraction(chosen: OptimiserConfig, step: int, *, total: int) -> float:
    """Share of the highest learning rate, at a step counted from 0 of `total`.

    Source:
        Loshchilov & Hutter 2016, arXiv:1608.03983, equation 5, without restarts.
    """
    if step < chosen.warmup_steps:
        return (step + 1) / chosen.warmup_steps
    progress = min(1.0, (step - chosen.warmup_steps) / max(1, total - chosen.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return chosen.final_fraction + (1.0 - chosen.final_fraction) * cosine
