"""ELBO surgery against mixtures whose mutual information is known."""

import math

import numpy as np
import pytest
import torch

from training.evaluation.measures.aggregate_posterior import elbo_surgery
from training.models.posterior import DiagonalGaussian


def surgery_of(mu, logvar, *, seed=0):
    mu, logvar = (torch.as_tensor(values, dtype=torch.float64) for values in (mu, logvar))
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return elbo_surgery(mu, logvar, DiagonalGaussian(mu=mu, logvar=logvar).rsample(eps=eps))


def test_posteriors_far_apart_tell_everything_which_is_ln_n():
    mu = 100.0 * torch.arange(50).unsqueeze(1).expand(50, 3)
    found = surgery_of(mu, torch.zeros(50, 3))
    assert found.mutual_information == pytest.approx(math.log(50), abs=1e-6)
    assert found.cap == pytest.approx(math.log(50))
    assert found.standard_error == pytest.approx(0.0, abs=1e-6)


def test_equal_posteriors_tell_nothing_and_the_marginal_has_all_of_the_divergence():
    """q(z) is then N(2, ½) itself, and its divergence from N(0, 1) has a closed form."""
    found = surgery_of(np.full((40, 1), 2.0), np.full((40, 1), math.log(0.5)))
    assert found.mutual_information == pytest.approx(0.0, abs=1e-12)
    assert found.marginal_kl == pytest.approx(0.5 * (4.0 + 0.5 - 1.0 - math.log(0.5)), abs=1e-12)


def test_two_groups_far_apart_tell_which_of_the_two():
    mu = torch.tensor([[-80.0], [80.0]]).repeat(30, 1)
    assert surgery_of(mu, torch.zeros(60, 1)).mutual_information == pytest.approx(math.log(2.0), abs=1e-12)


def test_overlapping_mixture_agrees_with_a_numerical_integral():
    """I = h(z) - h(z|x) for z ~ ½ N(-1, 0.6²) + ½ N(1, 1.2²), each component met by 2,000 images."""
    means, sigmas = np.array([-1.0, 1.0]), np.array([0.6, 1.2])
    z = np.linspace(-12.0, 14.0, 200_001)
    density = np.exp(-0.5 * ((z[:, None] - means) / sigmas) ** 2) / (sigmas * math.sqrt(2 * math.pi))
    mixture = density.mean(axis=1)
    entropy = -np.trapezoid(mixture * np.log(mixture), z)
    exact = entropy - 0.5 * np.log(2 * math.pi * math.e * sigmas**2).mean()
    marginal = -entropy + np.trapezoid(mixture * 0.5 * (math.log(2 * math.pi) + z**2), z)
    found = surgery_of(np.tile(means, 2000)[:, None], np.tile(2 * np.log(sigmas), 2000)[:, None])
    assert 0.2 < exact < math.log(2.0)
    assert abs(found.mutual_information - exact) < 4.0 * found.standard_error
    assert abs(found.marginal_kl - marginal) < 4.0 * found.standard_error
    assert found.standard_error < 0.02


def test_parts_add_up_to_the_mean_divergence_and_information_stays_below_its_cap():
    generator = torch.Generator().manual_seed(3)
    mu = torch.randn(300, 8, generator=generator, dtype=torch.float64)
    logvar = torch.randn(300, 8, generator=generator, dtype=torch.float64) - 3.0
    found = surgery_of(mu, logvar)
    mean_kl = DiagonalGaussian(mu=mu, logvar=logvar).kl_to_standard_normal().mean().item()
    assert found.mutual_information + found.marginal_kl == pytest.approx(mean_kl)
    assert found.mutual_information <= found.cap


def test_narrow_posteriors_far_from_zero_lose_nothing_to_rounding():
    """mu² / σ² is 2e7 here, and the answer is still ln N to seven digits."""
    mu = 100.0 + torch.arange(20, dtype=torch.float64).unsqueeze(1)
    found = surgery_of(mu, torch.full((20, 1), math.log(5e-4)))
    assert found.mutual_information == pytest.approx(math.log(20.0), abs=1e-6)
