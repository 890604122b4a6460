"""Estimators against answers found without them: linear models solved exactly, and a numerical integral.

A linear VAE, p(x|z) = N(Wz + b, σ²I) with p(z) = N(0, I), has p(x) = N(b, WWᵀ + σ²I) in closed form.
"""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from model_store.manifest import GaussianLikelihood
from training.data import ImageSet, to_unit_interval
from training.models import VAE, Bernoulli, DiagonalGaussian, Likelihood
from training.objectives.estimators import (
    Observations,
    elbo_parts,
    importance_weighted_log_px,
    posteriors,
    squared_error,
)

PIXELS = (1, 3, 4)
LATENTS = 2
SIGMA = 0.3


class LinearGaussian(Likelihood):
    """N(params, σ²I), without the squashing that a picture would want."""

    def mean(self, params):
        return params

    def log_prob(self, x, params):
        return Independent(Normal(params, SIGMA), 3).log_prob(x)

    def spec(self):
        return GaussianLikelihood(sigma=SIGMA, learned=False)


class LinearVAE(VAE):
    """Solved exactly: mu is the true posterior mean; logvar is the true one's diagonal, plus an error."""

    def __init__(self, weight, *, logvar_error=0.0):
        super().__init__(
            encoder=nn.Identity(),
            decoder=nn.Identity(),
            likelihood=LinearGaussian(),
            image_shape=PIXELS,
            latent_size=LATENTS,
            logvar_bounds=(-8.0, 2.0),
        )
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.full((math.prod(PIXELS),), 0.5))
        self.logvar_error = logvar_error

    @property
    def covariance(self):
        precision = torch.eye(LATENTS) + self.weight.T @ self.weight / SIGMA**2
        return torch.linalg.inv(precision)

    def encode(self, x):
        mu = (x.flatten(1) - self.bias) @ self.weight @ self.covariance / SIGMA**2
        logvar = self.covariance.diagonal().log() + self.logvar_error
        return DiagonalGaussian(mu=mu, logvar=logvar.expand_as(mu))

    def decode_params(self, z):
        return (z @ self.weight.T + self.bias).view(-1, *PIXELS)

    def exact_log_px(self, x):
        marginal = LowRankMultivariateNormal(self.bias, self.weight, torch.full_like(self.bias, SIGMA**2))
        return marginal.log_prob(x.flatten(1))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (300, *PIXELS), generator=generator, dtype=torch.uint8)
    return ImageSet(name="noise", images=pixels)


@pytest.fixture
def observations(images):
    return Observations(images, "grey", seed=0)


def orthogonal_weight():
    """Columns at right angles: the true posterior is diagonal, so the encoder can be exact."""
    q, _ = torch.linalg.qr(
        torch.randn(math.prod(PIXELS), LATENTS, generator=torch.Generator().manual_seed(1))
    )
    return q * torch.tensor([0.9, 0.5])


def skewed_weight():
    """Columns far from right angles: no diagonal posterior is exact."""
    base = orthogonal_weight()
    return torch.stack([base[:, 0], 0.8 * base[:, 0] + base[:, 1]], dim=1)


def estimate(model, observations, samples, *, batch_size=4096):
    with torch.inference_mode():
        everything = torch.arange(len(observations))
        return importance_weighted_log_px(
            model, observations, everything, samples=samples, batch_size=batch_size
        )


@pytest.mark.parametrize("samples", [1, 3])
def test_exact_posterior_gives_the_exact_likelihood_with_any_k(observations, images, samples):
    """All importance weights are then equal: p(x|z) p(z) / q(z|x) = p(x) for every z."""
    model = LinearVAE(orthogonal_weight())
    exact = model.exact_log_px(to_unit_interval(images.images)).detach()
    torch.testing.assert_close(estimate(model, observations, samples), exact.double(), atol=2e-4, rtol=0)


def test_bound_lies_below_the_exact_likelihood_rises_with_k_and_comes_to_it(observations, images):
    model = LinearVAE(skewed_weight(), logvar_error=0.3)
    exact = model.exact_log_px(to_unit_interval(images.images)).detach().mean().item()
    with torch.inference_mode():
        parts = elbo_parts(model, observations, batch_size=64)
    bounds = [-parts.negative_elbo.mean().item()]
    bounds += [estimate(model, observations, samples).mean().item() for samples in (4, 32, 2000)]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.2
    assert bounds[-1] == pytest.approx(exact, abs=0.01)


def test_elbo_agrees_with_its_closed_form_on_a_linear_model(observations, images):
    """E_q log p(x|z) = -(‖x - Wμ - b‖² + tr(WSWᵀ)) / 2σ² - D/2 log 2πσ²; the KL by torch.distributions."""
    model = LinearVAE(skewed_weight(), logvar_error=0.3)
    with torch.inference_mode():
        parts = elbo_parts(model, observations, batch_size=64)
        x = to_unit_interval(images.images)
        q = model.encode(x)
        residual = x.flatten(1) - model.decode_params(q.mu).flatten(1)
        spread = (model.weight.square() * q.logvar[0].exp()).sum()
        size = math.prod(PIXELS)
        nll = (residual.square().sum(1) + spread) / (2 * SIGMA**2) + size / 2 * math.log(
            2 * math.pi * SIGMA**2
        )
        prior = MultivariateNormal(torch.zeros(LATENTS), torch.eye(LATENTS))
        kl = torch.distributions.kl_divergence(MultivariateNormal(q.mu, q.logvar.exp().diag_embed()), prior)
    torch.testing.assert_close(parts.kl_per_dimension.sum(1), kl.double(), atol=1e-5, rtol=1e-5)
    error = parts.reconstruction_nll - nll.double()
    # One sample an image: four standard errors of their mean.
    assert abs(error.mean().item()) < 4.0 * (error.std() / math.sqrt(len(error))).item()
    assert error.std() > 0.1  # it is sampled, not the closed form again


def test_one_sample_bound_is_an_estimate_of_the_elbo(observations):
    """E log w = ELBO: the mean difference over 300 images is within four standard errors."""
    model = LinearVAE(skewed_weight(), logvar_error=0.3)
    with torch.inference_mode():
        parts = elbo_parts(model, observations, batch_size=300)
    difference = estimate(model, observations, 1) + parts.negative_elbo
    assert abs(difference.mean().item()) < 4.0 * (difference.std() / math.sqrt(len(difference))).item()


class BinaryVAE(VAE):
    """One latent, four binary pixels: small enough for a numerical integral."""

    def __init__(self):
        super().__init__(
            encoder=nn.Identity(),
            decoder=nn.Identity(),
            likelihood=Bernoulli(),
            image_shape=(1, 2, 2),
            latent_size=1,
            logvar_bounds=(-8.0, 2.0),
        )
        self.weight = nn.Parameter(torch.tensor([[2.0, -1.0, 0.5, 3.0]]))

    def encode(self, x):
        mu = 0.4 * (x.flatten(1) - 0.5) @ self.weight.T
        return DiagonalGaussian(mu=mu, logvar=torch.full_like(mu, -0.7))

    def decode_params(self, z):
        return (torch.tanh(z) @ self.weight + 0.3).view(-1, 1, 2, 2)


def test_bernoulli_likelihood_agrees_with_a_numerical_integral_and_sums_to_one():
    """All sixteen images there are: each log p(x) by quadrature over z, and the p(x) add up to one."""
    codes = torch.arange(16).unsqueeze(1).bitwise_and(torch.tensor([1, 2, 4, 8])).ne(0)
    images = ImageSet(name="all", images=codes.to(torch.uint8).view(16, 1, 2, 2) * 255)
    model = BinaryVAE()
    with torch.inference_mode():
        z = torch.linspace(-9.0, 9.0, 4001, dtype=torch.float64).unsqueeze(1)
        p = torch.sigmoid(torch.tanh(z) @ model.weight.double() + 0.3)
        x = codes.double()
        log_px_z = (x.unsqueeze(1) * p.log() + (1 - x.unsqueeze(1)) * (1 - p).log()).sum(-1)
        prior = torch.exp(-0.5 * z.squeeze(1) ** 2) / math.sqrt(2 * math.pi)
        exact = torch.trapezoid(log_px_z.exp() * prior, z.squeeze(1), dim=1).log()
    estimated = estimate(model, Observations(images, "dynamic", seed=0), 4000)
    torch.testing.assert_close(estimated, exact, atol=0.02, rtol=0)
    assert estimated.exp().sum().item() == pytest.approx(1.0, abs=0.01)


def test_noise_of_an_image_does_not_depend_on_batch_or_company(images):
    """Otherwise a figure would change with the memory of the machine."""
    observations = Observations(images, "dynamic", seed=3)
    model = LinearVAE(skewed_weight())
    chosen = torch.tensor([5, 17, 100])
    torch.testing.assert_close(observations.take(chosen), observations.take(torch.arange(300))[chosen])
    with torch.inference_mode():
        alone = importance_weighted_log_px(model, observations, chosen, samples=20, batch_size=7)
        large = elbo_parts(model, observations, batch_size=256)
        small = elbo_parts(model, observations, batch_size=11)
    torch.testing.assert_close(alone, estimate(model, observations, 20)[chosen], atol=1e-4, rtol=0)
    torch.testing.assert_close(large.negative_elbo, small.negative_elbo, atol=1e-4, rtol=0)


def test_streams_of_images_seeds_and_purposes_are_independent(images):
    from training.objectives.estimators import _Purpose

    one, other = Observations(images, "dynamic", seed=0), Observations(images, "dynamic", seed=1)
    index = torch.arange(300)
    draws = [
        one.normal(index, _Purpose.ELBO, 50),
        one.normal(index, _Purpose.IMPORTANCE, 50),
        other.normal(index, _Purpose.ELBO, 50),
        one.normal(index.roll(1), _Purpose.ELBO, 50),
    ]
    correlations = torch.corrcoef(torch.stack([draw.flatten() for draw in draws])) - torch.eye(4)
    # 15,000 pairs: five standard deviations of a zero correlation.
    assert correlations.abs().max() < 5.0 / math.sqrt(15_000)
    assert abs(draws[0].mean().item()) < 0.05
    assert draws[0].std().item() == pytest.approx(1.0, abs=0.03)


def test_binarisation_in_evaluation_has_the_grey_level_as_its_mean():
    grey = torch.full((2000, 1, 1, 4), 0, dtype=torch.uint8)
    grey[..., 1:] = torch.tensor([64, 191, 255], dtype=torch.uint8)
    x = Observations(ImageSet(name="x", images=grey), "dynamic", seed=0).take(torch.arange(2000))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(
        x.mean(dim=0).flatten(), torch.tensor([0.0, 64 / 255, 191 / 255, 1.0]), atol=0.05, rtol=0
    )


def test_first_samples_of_an_image_are_the_same_for_every_larger_k(images):
    from training.objectives.estimators import _Purpose

    observations = Observations(images, "grey", seed=0)
    index = torch.arange(4)
    few, many = (observations.normal(index, _Purpose.IMPORTANCE, size) for size in (6, 600))
    assert torch.equal(few, many[:, :6])


def test_posteriors_are_those_of_the_bound_with_its_noise(observations):
    """log p(x|z) at the z that they hold is the bound's own reconstruction term."""
    model = LinearVAE(skewed_weight(), logvar_error=0.3)
    with torch.inference_mode():
        parts = elbo_parts(model, observations, batch_size=64)
        found = posteriors(model, observations, batch_size=100)
        x = observations.take(torch.arange(len(observations)))
        log_px_z = model.likelihood.log_prob(x, model.decode_params(found.z.float()))
    kl = DiagonalGaussian(mu=found.mu, logvar=found.logvar).kl_per_dimension()
    torch.testing.assert_close(kl, parts.kl_per_dimension)
    torch.testing.assert_close(-log_px_z.double(), parts.reconstruction_nll, atol=1e-3, rtol=0)


def test_autoencoder_has_its_code_in_place_of_a_draw(observations):
    model: Any = LinearVAE(skewed_weight())
    model.kind = "ae"
    with torch.inference_mode():
        found = posteriors(model, observations, batch_size=100)
    assert torch.equal(found.z, found.mu)


def test_squared_error_is_a_mean_over_pixels_of_the_mean_reconstruction(images):
    model = LinearVAE(torch.zeros(12, LATENTS))
    with torch.inference_mode():
        error = squared_error(model, images, batch_size=50)
    expected = (to_unit_interval(images.images).double() - 0.5).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(error, expected, atol=1e-7, rtol=0)


def test_progress_counts_images_to_the_end(observations):
    seen = []
    with torch.inference_mode():
        elbo_parts(
            LinearVAE(skewed_weight()), observations, batch_size=128, progress=lambda *step: seen.append(step)
        )
    assert seen == [("bound", 128, 300), ("bound", 256, 300), ("bound", 300, 300)]
