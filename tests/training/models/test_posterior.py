"""The posterior's densities and divergences, against torch.distributions and numerical integrals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from training.models.posterior import DiagonalGaussian, standard_normal_log_prob


def random_posterior(generator: torch.Generator, batch: int = 16, latent: int = 5) -> DiagonalGaussian:
    mu = 2.0 * torch.randn(batch, latent, generator=generator, dtype=torch.float64)
    logvar = 2.0 * torch.randn(batch, latent, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mu=mu, logvar=logvar)


def reference(q: DiagonalGaussian) -> Independent:
    return Independent(Normal(q.mu, torch.exp(0.5 * q.logvar)), 1)


def test_kl_agrees_with_torch_distributions(generator):
    q = random_posterior(generator)
    prior = Independent(Normal(torch.zeros_like(q.mu), torch.ones_like(q.mu)), 1)
    torch.testing.assert_close(q.kl_to_standard_normal(), kl_divergence(reference(q), prior))


def test_log_prob_agrees_with_torch_distributions(generator):
    q = random_posterior(generator)
    z = torch.randn(q.mu.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z))


def test_prior_log_prob_agrees_with_torch_distributions(generator):
    z = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    expected = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1).log_prob(z)
    torch.testing.assert_close(standard_normal_log_prob(z), expected)


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.0), (3.0, -6.0)])
def test_kl_in_one_dimension_agrees_with_a_numerical_integral(mu, logvar):
    q = DiagonalGaussian(
        mu=torch.tensor([[mu]], dtype=torch.float64), logvar=torch.tensor([[logvar]], dtype=torch.float64)
    )
    z = torch.linspace(mu - 14.0, mu + 14.0, 400_001, dtype=torch.float64)[:, None]
    log_q = q.log_prob(z)
    integrand = log_q.exp() * (log_q - standard_normal_log_prob(z))
    assert torch.trapezoid(integrand, z[:, 0]).item() == pytest.approx(
        q.kl_to_standard_normal().item(), abs=1e-6
    )


def test_density_integrates_to_one():
    q = DiagonalGaussian(mu=torch.tensor([[0.7]]).double(), logvar=torch.tensor([[-1.3]]).double())
    z = torch.linspace(-12.0, 12.0, 100_001, dtype=torch.float64)[:, None]
    assert torch.trapezoid(q.log_prob(z).exp(), z[:, 0]).item() == pytest.approx(1.0, abs=1e-9)


def test_kl_is_the_sum_over_dimensions_and_never_over_the_batch(generator):
    q = random_posterior(generator)
    assert q.kl_to_standard_normal().shape == (16,)
    torch.testing.assert_close(q.kl_per_dimension().sum(dim=1), q.kl_to_standard_normal())


@given(
    mu=st.floats(-30, 30, width=32),
    logvar=st.floats(-30, 10, width=32),
)
def test_kl_is_never_negative_in_float32(mu, logvar):
    q = DiagonalGaussian(mu=torch.tensor([[mu]]), logvar=torch.tensor([[logvar]]))
    assert q.kl_to_standard_normal().item() >= 0.0


def test_kl_of_a_posterior_next_to_the_prior_is_not_lost_to_rounding():
    """exp(v) - 1 - v loses every digit at 1e-4 in float32; expm1 keeps v²/2."""
    q = DiagonalGaussian(mu=torch.zeros(1, 1), logvar=torch.full((1, 1), 1e-4))
    assert q.kl_to_standard_normal().item() == pytest.approx(0.25e-8, rel=0.05)


def test_kl_is_zero_at_the_prior_only(generator):
    zero = torch.zeros(1, 3)
    assert DiagonalGaussian(mu=zero, logvar=zero).kl_to_standard_normal().item() == 0.0
    assert DiagonalGaussian(mu=zero + 0.1, logvar=zero).kl_to_standard_normal().item() > 0.0
    assert DiagonalGaussian(mu=zero, logvar=zero - 0.1).kl_to_standard_normal().item() > 0.0


def test_sample_is_mu_plus_sigma_times_eps():
    q = DiagonalGaussian(mu=torch.tensor([[1.0, -2.0]]), logvar=torch.tensor([[0.0, 2.0 * math.log(3.0)]]))
    z = q.rsample(eps=torch.tensor([[0.5, -1.0]]))
    torch.testing.assert_close(z, torch.tensor([[1.5, -5.0]]))


def test_samples_have_the_mean_and_variance_they_state(generator):
    mu, logvar = torch.tensor([[1.0, -1.0]]), torch.tensor([[-2.0, 1.0]])
    q = DiagonalGaussian(mu=mu.expand(200_000, 2), logvar=logvar.expand(200_000, 2))
    z = q.rsample(generator=generator)
    torch.testing.assert_close(z.mean(dim=0), mu[0], atol=0.02, rtol=0.0)
    torch.testing.assert_close(z.var(dim=0), logvar[0].exp(), atol=0.0, rtol=0.02)


def test_same_generator_seed_gives_the_same_sample(generator):
    q = random_posterior(generator)
    first, second = (q.rsample(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_gradient_of_an_expectation_passes_through_the_sample():
    """d/dmu E[z²] = 2 mu and d/dlogvar E[z²] = σ²: the closed form of the simplest expectation."""
    mu = torch.full((400_000, 1), 0.8, dtype=torch.float64, requires_grad=True)
    logvar = torch.full((400_000, 1), -0.5, dtype=torch.float64, requires_grad=True)
    q = DiagonalGaussian(mu=mu, logvar=logvar)
    q.rsample(generator=torch.Generator().manual_seed(1)).square().mean().backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    assert mu.grad.sum().item() == pytest.approx(1.6, rel=0.01)
    assert logvar.grad.sum().item() == pytest.approx(math.exp(-0.5), rel=0.01)
