"""How far pixels are from black and white."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data import ImageSet, binarise, to_unit_interval
from training.data.greyness import greyness


def images(levels: np.ndarray) -> ImageSet:
    return ImageSet("x", torch.from_numpy(levels.astype(np.uint8)))


def test_greyness_is_zero_for_black_and_white_and_one_for_a_flat_grey():
    rng = np.random.default_rng(0)
    assert greyness(images(255 * rng.integers(0, 2, (50, 1, 8, 8)))) == 0.0
    assert greyness(images(np.full((50, 3, 8, 8), 100))) == pytest.approx(1.0)
    assert greyness(images(np.zeros((50, 1, 8, 8)))) == 0.0


def test_greyness_is_the_share_of_chance_in_the_variance_of_binarised_pixels(digits):
    """Against draws: what is left of the variance once each pixel's own mean is taken away."""
    x = to_unit_interval(digits.train.images)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([binarise(x, generator) for _ in range(30)])
    chance = draws.var(dim=0, correction=1).mean() / draws.var(correction=0)
    assert greyness(digits.train) == pytest.approx(chance.item(), rel=0.02)
