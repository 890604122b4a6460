"""Distortions: which images, how much, and that the same seed draws the same."""

from __future__ import annotations

import pytest
import torch

from training.data import distort


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def disc(side=28, images=64, channels=1):
    """A filled circle in the middle: its centre and area tell what was done to it."""
    places = torch.arange(side) - (side - 1) / 2
    inside = (places[:, None].square() + places[None, :].square() < (side / 4) ** 2).float()
    return inside.expand(images, channels, side, side).clone()


def test_the_chosen_fraction_is_changed_and_the_rest_is_bit_for_bit_the_same():
    x = torch.rand(1000, 1, 28, 28, generator=generator(1))
    changed = (distort(x, fraction=0.3, strength=1.0, generator=generator()) != x).flatten(1).any(dim=1)
    assert 250 <= changed.sum() <= 350
    assert torch.equal(distort(x, fraction=0.0, strength=1.0, generator=generator()), x)
    assert (distort(x, fraction=1.0, strength=1.0, generator=generator()) != x).flatten(1).any(dim=1).all()


def test_equal_seeds_distort_alike_and_others_do_not():
    x = torch.rand(8, 1, 28, 28, generator=generator(1))
    first, again, other = (distort(x, fraction=1.0, strength=1.0, generator=generator(s)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (8, 3), (15, 1)])
def test_pixels_stay_within_their_range_and_shapes_are_kept(side, channels):
    x = disc(side, 64, channels)
    out = distort(x, fraction=1.0, strength=3.0, generator=generator())
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.min() >= 0.0
    assert out.max() <= 1.0


def test_the_amounts_are_what_the_strength_says():
    """Centres move by half a pixel of 28 and areas by 5 % in each axis, in standard deviations."""
    x = disc(images=4000)
    for strength in (0.5, 1.0):
        out = distort(x, fraction=1.0, strength=strength, generator=generator())[:, 0]
        area = out.sum(dim=(1, 2))
        places = torch.arange(28) - 13.5
        across = (out.sum(dim=1) * places).sum(dim=1) / area
        down = (out.sum(dim=2) * places).sum(dim=1) / area
        for centre in (across, down):
            assert abs(centre.mean()) < 0.05
            assert centre.std() == pytest.approx(0.5 * strength, rel=0.1)
        area_deviation = (area / x[0].sum()).log().std()
        assert area_deviation == pytest.approx(0.05 * strength * 2**0.5, rel=0.15)


def test_places_are_computed_in_float32_under_autocast():
    x = torch.rand(8, 1, 28, 28, generator=generator(1))
    plain = distort(x, fraction=1.0, strength=1.0, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(distort(x, fraction=1.0, strength=1.0, generator=generator()), plain)
