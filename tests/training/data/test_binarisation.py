"""Binarised pixels are zeros and ones whose chance is the grey level."""

import torch

from training.data import binarise, observe


def test_draws_are_binary_with_the_grey_level_as_their_mean():
    x = torch.linspace(0.0, 1.0, 11).view(1, 1, 1, 11)
    generator = torch.Generator().manual_seed(0)
    draws = binarise(x.expand(20_000, 1, 1, 11), generator)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    # Five standard deviations of a Bernoulli mean over 20,000 draws.
    bound = 5.0 * (x * (1.0 - x) / 20_000).sqrt().squeeze() + 1e-9
    assert ((draws.mean(dim=0).squeeze() - x.squeeze()).abs() <= bound).all()


def test_black_and_white_are_certain():
    generator = torch.Generator().manual_seed(0)
    assert binarise(torch.zeros(1, 1, 1000, 1000), generator).max() == 0.0
    assert binarise(torch.ones(1, 1, 1000, 1000), generator).min() == 1.0


def test_each_call_draws_anew_and_the_seed_repeats_them():
    x = torch.full((1, 1, 28, 28), 0.5)
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    a, b = binarise(x, first), binarise(x, first)
    assert not torch.equal(a, b)
    assert torch.equal(a, binarise(x, second))


def test_grey_is_left_alone_and_dynamic_is_not():
    x = torch.rand(2, 1, 5, 5)
    assert torch.equal(observe(x, "grey"), x)
    assert set(observe(x, "dynamic").unique().tolist()) <= {0.0, 1.0}
