"""A likelihood that cannot speak of the images it is given is told before it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data import ImageData, ImageSet
from training.errors import ConfigError
from training.fitting.data_checks import check_sides, objections
from training.fitting.fit import fit


def images(levels: np.ndarray) -> ImageSet:
    return ImageSet("x", torch.from_numpy(levels.astype(np.uint8)))


def shades(count: int = 200) -> ImageSet:
    """Grey levels around the middle, as photographs have."""
    return images(np.random.default_rng(0).normal(128.0, 30.0, (count, 1, 8, 8)).clip(0, 255))


def test_digits_suit_a_bernoulli(digits, tiny):
    assert objections(tiny(), digits.train) == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "are far from black and white: "),
        ({"binarisation": "grey"}, "the pixels are grey and are not binarised, but model.likelihood is bern"),
    ],
)
def test_shades_do_not_suit_a_bernoulli(keys, told, tiny):
    (objection,) = objections(tiny(data=keys), shades())
    assert told in objection


def test_black_and_white_suits_a_bernoulli_that_is_not_binarised(tiny):
    ink = images(255 * (np.random.default_rng(0).random((50, 1, 8, 8)) > 0.7))
    assert objections(tiny(data={"binarisation": "grey"}), ink) == []


def test_a_gaussian_takes_any_shade(tiny):
    config = tiny(data={"binarisation": "grey"}, model={"likelihood": {"name": "gaussian"}})
    assert objections(config, shades()) == []


def test_training_warns_before_it_starts(tiny, tmp_path, console, heard, no_pictures):
    data = ImageData("x", train=shades(), test=shades(10))
    fit(tiny(trainer={"epochs": 1, "batch_size": 50}), data, tmp_path / "run", console=console)
    assert heard[0].startswith("warning: model.likelihood is bernoulli, but the images are far from black")
    assert heard[1].startswith("epoch 1/1")


def test_a_fully_connected_trunk_is_refused_for_images_above_64_pixels(tiny, tmp_path, console):
    large = ImageSet("large", torch.zeros(20, 1, 65, 8, dtype=torch.uint8))
    with pytest.raises(
        ConfigError, match=r"large: expected at most 64 pixels .*, got 65 × 8\. Use --recipe pic"
    ):
        fit(tiny(), ImageData("x", train=large, test=large), tmp_path / "run", console=console)
    assert not (tmp_path / "run").exists()
    positions = {"trunk": {"type": "residual", "latents": "spatial"}}
    check_sides(tiny(model=positions), large)
