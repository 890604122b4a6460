"""Likelihoods against torch.distributions, and finite where logits and grey levels are extreme."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from training.models.likelihoods import Bernoulli, Gaussian

SHAPE = (6, 2, 3, 4)


def test_bernoulli_agrees_with_torch_distributions(generator):
    params = 3.0 * torch.randn(SHAPE, generator=generator)
    x = torch.randint(0, 2, SHAPE, generator=generator).float()
    expected = TorchBernoulli(logits=params).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(Bernoulli().log_prob(x, params), expected)


def test_bernoulli_sums_to_one_over_all_binary_images(generator):
    """Five pixels have 32 images; a normalised density gives them probability one in total."""
    params = torch.randn(1, 1, 1, 5, generator=generator, dtype=torch.float32)
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5).view(32, 1, 1, 5)
    log_px = Bernoulli().log_prob(images, params.expand(32, 1, 1, 5))
    assert log_px.exp().sum().item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("grey", [0.0, 1e-7, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-200.0, -20.0, 0.0, 20.0, 200.0])
def test_bernoulli_cost_and_gradient_are_finite_for_grey_targets_and_extreme_logits(grey, logit):
    params = torch.full((1, 1, 2, 2), logit, requires_grad=True)
    log_px = Bernoulli().log_prob(torch.full((1, 1, 2, 2), grey), params)
    log_px.sum().backward()
    assert torch.isfinite(log_px).all()
    assert params.grad is not None
    # d/dlogit of x·log p + (1 - x)·log(1 - p) is x - p.
    torch.testing.assert_close(params.grad, torch.full_like(params, grey) - torch.sigmoid(params.detach()))


def test_bernoulli_is_computed_in_float32_from_bfloat16_logits(generator):
    params = torch.randn(SHAPE, generator=generator).bfloat16()
    x = torch.randint(0, 2, SHAPE, generator=generator).float()
    log_px = Bernoulli().log_prob(x, params)
    assert log_px.dtype == torch.float32
    torch.testing.assert_close(log_px, Bernoulli().log_prob(x, params.float()))


@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_agrees_with_torch_distributions(generator, learned):
    likelihood = Gaussian(sigma=0.3, learned=learned)
    params, x = torch.randn(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator)
    expected = Normal(torch.sigmoid(params), 0.3).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(x, params), expected, atol=1e-3, rtol=1e-5)


def test_gaussian_with_sigma_of_root_half_costs_the_squared_error_and_a_constant(generator):
    """2σ² = 1: the mean squared error of the textbooks is this likelihood with one particular σ."""
    likelihood = Gaussian(sigma=math.sqrt(0.5), learned=False)
    params, x = torch.randn(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator)
    squared_error = (x - torch.sigmoid(params)).square().sum(dim=(1, 2, 3))
    constant = 24 * 0.5 * math.log(math.pi)
    torch.testing.assert_close(-likelihood.log_prob(x, params), squared_error + constant)


def test_stated_sigma_is_no_parameter_and_learned_sigma_is_one():
    assert not list(Gaussian(sigma=0.2, learned=False).parameters())
    assert len(list(Gaussian(sigma=0.2, learned=True).parameters())) == 1


@pytest.mark.parametrize("sigma", [0.011, 0.2, 5.0, 90.0])
def test_learned_sigma_starts_where_the_recipe_says(sigma):
    assert Gaussian(sigma=sigma, learned=True).sigma.item() == pytest.approx(sigma, rel=1e-4)


def test_learned_sigma_cannot_fall_below_its_floor():
    likelihood = Gaussian(sigma=0.2, learned=True)
    with torch.no_grad():
        likelihood.sigma_parameter.fill_(-1000.0)
    assert likelihood.sigma.item() == pytest.approx(0.01)
    assert torch.isfinite(likelihood.log_prob(torch.rand(SHAPE), torch.zeros(SHAPE))).all()


def test_learned_sigma_converges_to_the_root_mean_squared_error(generator):
    """Its maximum-likelihood value has a closed form (arXiv:2006.13202, section 3.2)."""
    likelihood = Gaussian(sigma=0.5, learned=True)
    params, x = torch.randn(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator)
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        (-likelihood.log_prob(x, params).mean()).backward()
        optimiser.step()
    expected = (x - torch.sigmoid(params)).square().mean().sqrt().item()
    assert likelihood.sigma.item() == pytest.approx(expected, rel=1e-3)


def test_sigma_at_or_below_the_floor_is_refused():
    with pytest.raises(ValueError, match="sigma: expected a value above"):
        Gaussian(sigma=0.01, learned=True)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(sigma=0.1, learned=False)])
def test_mean_lies_in_the_pixel_range_whatever_the_decoder_says(likelihood):
    x_hat = likelihood.mean(torch.tensor([-1e6, -3.0, 0.0, 3.0, 1e6]).view(1, 1, 1, 5))
    assert x_hat.min().item() >= 0.0
    assert x_hat.max().item() <= 1.0


def test_spec_says_what_the_manifest_needs():
    assert Bernoulli().spec().name == "bernoulli"
    spec = Gaussian(sigma=0.25, learned=True).spec()
    assert (spec.sigma, spec.learned) == (pytest.approx(0.25), True)
