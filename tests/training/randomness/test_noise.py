"""Noise does not depend on the device, nor on how many processes share a batch."""

from __future__ import annotations

import pytest
import torch

from training.data import binarise, distort
from training.models.posterior import DiagonalGaussian
from training.randomness.noise import Share, SharedGenerator, standard_normal, uniform

CPU = torch.device("cpu")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("draw", [uniform, standard_normal])
def test_the_shares_of_all_processes_make_up_the_noise_of_the_batch(draw):
    whole = draw([12, 5], seeded(), device=CPU)
    for count in (1, 2, 3, 4):
        shares = [
            draw([12 // count, 5], SharedGenerator(seeded(), Share(index, count)), device=CPU)
            for index in range(count)
        ]
        assert torch.equal(torch.cat(shares), whole)


def test_a_share_draws_as_far_as_the_whole_does():
    """Or the second draw of a step would differ between processes."""
    alone, shared = seeded(), seeded()
    standard_normal([8, 3], alone, device=CPU)
    standard_normal([2, 3], SharedGenerator(shared, Share(1, 4)), device=CPU)
    assert torch.equal(alone.get_state(), shared.get_state())


def test_what_is_done_to_images_is_shared_too():
    x = torch.rand(8, 1, 10, 10, generator=seeded())

    def done(x, source):
        return binarise(distort(x, fraction=0.7, strength=2.0, generator=source()), source())

    halves = [done(Share(i, 2).of(x), lambda i=i: SharedGenerator(seeded(), Share(i, 2))) for i in (0, 1)]
    assert torch.equal(torch.cat(halves), done(x, seeded))


def test_noise_for_another_device_is_drawn_on_the_cpu():
    """A GPU has generators of its own, which give other numbers and refuse those of the CPU."""
    meta = torch.device("meta")
    flat = torch.zeros(6, 4, device=meta)
    posterior = DiagonalGaussian(mu=flat, logvar=flat)
    for draw in (
        lambda generator: binarise(torch.zeros(6, 1, 8, 8, device=meta), generator),
        lambda generator: posterior.rsample(generator=generator),
        lambda generator: uniform([6], generator, device=meta),
    ):
        generator = seeded()
        assert draw(generator).device == meta
        assert not torch.equal(generator.get_state(), seeded().get_state())
