"""The bound against likelihoods that can be computed exactly: a linear model and an integral."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from training.config.model_section import LearnedPriorConfig, MLPTrunk, ModelConfig
from training.models import VAE, LearnedPrior, StandardNormal, build_model
from training.models.likelihoods import Bernoulli, Gaussian
from training.models.posterior import DiagonalGaussian, standard_normal_log_prob
from training.objectives.elbo import ObjectiveTerms, beta_at, elbo_terms

PIXELS, LATENTS, SIGMA = 9, 3, 0.4
BOUNDS = (-20.0, 4.0)


class IdentityMeanGaussian(Gaussian):
    """A Gaussian likelihood around the decoder's output itself, which keeps the model linear."""

    def mean(self, params: Tensor) -> Tensor:
        return params


class CubatureVAE(VAE):
    """Decodes the 2L points ±√L·eᵢ instead of noise: their mean is exact for anything quadratic in z.

    The reconstruction term of a linear model is quadratic, so its ELBO comes out without noise.
    """

    def sample_posterior(
        self, posterior: DiagonalGaussian, *, generator: torch.Generator | None = None
    ) -> Tensor:
        points = math.sqrt(LATENTS) * torch.cat([torch.eye(LATENTS), -torch.eye(LATENTS)])
        return posterior.rsample(eps=points.to(posterior.mu.dtype))


class LinearEncoder(nn.Module):
    """x → (mu, raw log variance before the soft bound)."""

    def __init__(self, weight: Tensor, offset: Tensor, logvar: Tensor) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset
        low, high = BOUNDS
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        self.raw = middle + half * torch.atanh((logvar - middle) / half)

    def forward(self, x: Tensor) -> Tensor:
        mu = (x.flatten(start_dim=1) - self.offset) @ self.weight.T
        return torch.cat([mu, self.raw.expand_as(mu)], dim=1)


class LinearDecoder(nn.Module):
    def __init__(self, weight: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T + self.offset).view(-1, 1, 3, 3)


def linear_model(generator: torch.Generator, *, shift: float = 0.0, widen: float = 0.0):
    """Probabilistic PCA as a VAE, and its exact log-likelihood.

    x = Wz + b + σε has p(x) = N(b, WWᵀ + σ²I) and posterior N(M⁻¹Wᵀ(x - b), σ²M⁻¹) with
    M = WᵀW + σ²I (Tipping & Bishop 1999, equations 6 and 7; Lucas et al. 2019, arXiv:1911.02469).
    Orthogonal columns make M diagonal, so that a diagonal posterior can be exact.
    """
    basis, _ = torch.linalg.qr(torch.randn(PIXELS, LATENTS, generator=generator))
    weight = basis * torch.tensor([1.5, 0.8, 0.3])
    offset = torch.randn(PIXELS, generator=generator)
    m = weight.square().sum(dim=0) + SIGMA**2
    encoder = LinearEncoder(weight.T / m[:, None], offset - shift, torch.log(SIGMA**2 / m) + widen)
    model = CubatureVAE(
        encoder=encoder,
        decoder=LinearDecoder(weight, offset),
        likelihood=IdentityMeanGaussian(sigma=SIGMA, learned=False),
        image_shape=(1, 3, 3),
        latent_size=LATENTS,
        logvar_bounds=BOUNDS,
    )
    exact = MultivariateNormal(offset, weight @ weight.T + SIGMA**2 * torch.eye(PIXELS))
    return model, exact


def elbo_of(model: VAE, x: Tensor) -> float:
    """ELBO of one image, exact by cubature."""
    repeated = x.view(1, 1, 3, 3).expand(2 * LATENTS, 1, 3, 3)
    return elbo_terms(model, repeated).elbo.mean().item()


@pytest.mark.parametrize("case", range(5))
def test_elbo_equals_exact_log_likelihood_of_linear_vae_at_the_true_posterior(case):
    generator = torch.Generator().manual_seed(case)
    model, exact = linear_model(generator)
    x = exact.loc + torch.randn(PIXELS, generator=generator)
    assert elbo_of(model, x) == pytest.approx(exact.log_prob(x).item(), abs=2e-4)


@pytest.mark.parametrize(("shift", "widen"), [(0.3, 0.0), (0.0, 0.7), (0.0, -0.7), (-0.2, 0.4)])
def test_elbo_is_below_exact_log_likelihood_of_linear_vae_by_the_divergence_of_the_posteriors(shift, widen):
    """log p(x) - ELBO = KL(q(z|x) ‖ p(z|x)), arXiv:1312.6114, equation 1: not just below, but by how much."""
    model, exact = linear_model(torch.Generator().manual_seed(0), shift=shift, widen=widen)
    optimal, _ = linear_model(torch.Generator().manual_seed(0))
    x = exact.loc + torch.randn(PIXELS, generator=torch.Generator().manual_seed(1))
    q, p = (m.encode(x.view(1, 1, 3, 3)) for m in (model, optimal))
    gap = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mu, q.sigma), torch.distributions.Normal(p.mu, p.sigma)
    ).sum()
    assert gap.item() > 0.01
    assert exact.log_prob(x).item() - elbo_of(model, x) == pytest.approx(gap.item(), abs=3e-4)


def test_elbo_is_below_the_integrated_log_likelihood_of_a_nonlinear_vae(generator):
    """One latent dimension: p(x) = ∫ p(x|z) p(z) dz on a grid."""
    torch.manual_seed(1)
    trunk = MLPTrunk(encoder_hidden=(16,), decoder_hidden=(16,))
    model = build_model(ModelConfig(latent_size=1, trunk=trunk), (1, 8, 8)).eval()
    x = torch.randint(0, 2, (4, 1, 8, 8), generator=generator).float()
    with torch.no_grad():
        z = torch.linspace(-9.0, 9.0, 20_001)[:, None]
        params = model.decode_params(z)
        for image in x:
            log_joint = model.likelihood.log_prob(
                image.expand(len(z), 1, 8, 8), params
            ) + standard_normal_log_prob(z)
            log_px = (torch.logsumexp(log_joint, dim=0) + math.log(18.0 / 20_000)).item()
            draws = elbo_terms(model, image.expand(4000, 1, 8, 8), generator=generator).elbo
            error = draws.std().item() / math.sqrt(len(draws))
            assert draws.mean().item() < log_px + 4.0 * error
            # Close above as well: a bound that is far too low would pass the line before.
            assert draws.mean().item() > log_px - 20.0


def terms(beta: float) -> ObjectiveTerms:
    return ObjectiveTerms(
        reconstruction_nll=torch.tensor([80.0, 60.0]), kl=torch.tensor([20.0, 30.0]), beta=beta
    )


def test_elbo_is_minus_both_costs_whatever_beta():
    assert terms(0.25).elbo.tolist() == [-100.0, -90.0]


def test_loss_is_the_mean_of_minus_the_weighted_bound():
    assert terms(0.5).loss.item() == pytest.approx((80 + 10 + 60 + 15) / 2)
    assert terms(1.0).loss.item() == pytest.approx(-terms(1.0).elbo.mean().item())


def test_costs_are_sums_over_pixels_of_one_example():
    """An average over pixels would be a hidden β of hundreds."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(latent_size=2, trunk=MLPTrunk(encoder_hidden=(8,))), (1, 8, 8))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        x = torch.randint(0, 2, (3, 1, 8, 8)).float()
        costs = elbo_terms(model, x)
    # Every pixel is a fair coin: 64 bits.
    torch.testing.assert_close(costs.reconstruction_nll, torch.full((3,), 64 * math.log(2.0)))


def test_encoder_may_look_at_another_image_than_the_one_whose_likelihood_is_bounded(generator):
    torch.manual_seed(0)
    model: Any = build_model(ModelConfig(latent_size=2, trunk=MLPTrunk()), (1, 8, 8))
    x, grey = torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), 0.4)
    seen_grey = elbo_terms(model, x, seen=grey, generator=torch.Generator().manual_seed(0))
    assert torch.equal(seen_grey.kl, model.encode(grey).kl_to_standard_normal())
    z = model.encode(grey).rsample(generator=torch.Generator().manual_seed(0))
    expected = -Bernoulli().log_prob(x, model.decode_params(z))
    torch.testing.assert_close(seen_grey.reconstruction_nll, expected)


def test_autoencoder_costs_its_reconstruction_alone():
    torch.manual_seed(0)
    model = build_model(ModelConfig(kind="ae", latent_size=2, trunk=MLPTrunk()), (1, 8, 8))
    costs = elbo_terms(model, torch.rand(3, 1, 8, 8), beta=5.0)
    assert torch.equal(costs.kl, torch.zeros(3))
    assert costs.loss.item() == pytest.approx(costs.reconstruction_nll.mean().item())


@pytest.mark.parametrize("network", ["encoder", "decoder"])
@pytest.mark.parametrize(("samples", "beta"), [(1, 0.7), (3, 1.0)])
def test_gradient_of_the_loss_agrees_with_finite_differences(samples, beta, network):
    """The whole path: encode, sample, decode, both costs, and the bound of several draws."""
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(latent_size=2, trunk=MLPTrunk(encoder_hidden=(5,), decoder_hidden=(5,))), (1, 8, 8)
    )
    x = torch.rand(2, 1, 8, 8)
    parameter = next(getattr(model, network).parameters())

    def loss() -> Tensor:
        noise = torch.Generator().manual_seed(0)
        return elbo_terms(model, x, beta=beta, samples=samples, generator=noise).loss

    (gradient,) = torch.autograd.grad(loss(), parameter)
    largest = gradient.abs().argmax()
    step = 1e-2
    with torch.no_grad():
        flat = parameter.view(-1)
        flat[largest] += step
        above = loss().item()
        flat[largest] -= 2 * step
        below = loss().item()
    assert (above - below) / (2 * step) == pytest.approx(gradient.view(-1)[largest].item(), rel=0.02)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (1, 0.2), (5, 1.0), (9, 1.8), (10, 2.0), (1000, 2.0)]
)
def test_beta_rises_linearly_and_stays(step, expected):
    assert beta_at(step, beta=2.0, warmup_steps=10.0) == pytest.approx(expected)


def test_without_warm_up_beta_is_there_from_the_first_step():
    assert beta_at(0, beta=3.0, warmup_steps=0.0) == 3.0


def importance_bound(model: VAE, x: Tensor, samples: int, *, seed: int = 0) -> Tensor:
    terms = elbo_terms(model, x, samples=samples, generator=torch.Generator().manual_seed(seed))
    assert terms.importance_bound is not None
    return terms.importance_bound


def plain(model: CubatureVAE) -> VAE:
    """The same model with posterior noise in place of cubature points."""
    return VAE(
        encoder=model.encoder,
        decoder=model.decoder,
        likelihood=model.likelihood,
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        logvar_bounds=BOUNDS,
    )


@pytest.mark.parametrize("samples", [2, 5])
def test_importance_bound_is_the_exact_log_likelihood_where_the_posterior_is_true(samples):
    """Every weight p(x, z) / q(z|x) is then p(x) itself, whatever z."""
    generator = torch.Generator().manual_seed(3)
    model, exact = linear_model(generator)
    x = (exact.loc + torch.randn(4, PIXELS, generator=generator)).view(4, 1, 3, 3)
    expected = exact.log_prob(x.flatten(1))
    torch.testing.assert_close(importance_bound(plain(model), x, samples), expected, atol=3e-4, rtol=0)


def test_importance_bound_rises_with_the_samples_towards_the_exact_log_likelihood():
    model, exact = linear_model(torch.Generator().manual_seed(0), shift=0.3, widen=0.5)
    x = exact.loc + torch.randn(PIXELS, generator=torch.Generator().manual_seed(1))
    images = x.view(1, 1, 3, 3).expand(4000, 1, 3, 3)
    one = elbo_terms(plain(model), images, generator=torch.Generator().manual_seed(0)).elbo.mean()
    bounds = [importance_bound(plain(model), images, samples).mean() for samples in (2, 8, 64)]
    assert one < bounds[0] - 0.05 < bounds[1] - 0.05
    assert bounds[1] < bounds[2] < exact.log_prob(x) + 0.02
    assert bounds[2].item() == pytest.approx(exact.log_prob(x).item(), abs=0.1)


def test_loss_of_several_samples_is_the_mean_of_the_two_bounds():
    model, exact = linear_model(torch.Generator().manual_seed(0), shift=0.2, widen=0.3)
    x = exact.sample((5,)).view(5, 1, 3, 3)
    terms = elbo_terms(plain(model), x, samples=3, generator=torch.Generator().manual_seed(0))
    assert terms.importance_bound is not None
    expected = -0.5 * (terms.elbo.mean() + terms.importance_bound.mean())
    torch.testing.assert_close(terms.loss, expected)
    assert terms.reconstruction_nll.shape == terms.kl.shape == terms.importance_bound.shape == (5,)


def test_samples_of_an_image_are_its_own(generator):
    """The draws of one image are neighbours in the noise: its terms do not depend on its batch-mates."""
    torch.manual_seed(0)
    model: Any = build_model(ModelConfig(latent_size=2, trunk=MLPTrunk()), (1, 8, 8))
    x = torch.randint(0, 2, (3, 1, 8, 8), generator=generator).float()
    together = importance_bound(model, x, 8)
    alone = importance_bound(model, x[:1], 8)
    torch.testing.assert_close(together[:1], alone)


class MovedEncoder(nn.Module):
    """The posterior of z · scale + shift."""

    def __init__(self, model: VAE, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model, self.scale, self.shift = model, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        q = self.model.encode(x)
        low, high = BOUNDS
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        raw = middle + half * torch.atanh((q.logvar + 2.0 * torch.log(self.scale) - middle) / half)
        return torch.cat([q.mu * self.scale + self.shift, raw], dim=1)


def with_affine_latents(model: CubatureVAE, scale: Tensor, shift: Tensor) -> VAE:
    """The same model of images with z · scale + shift in place of z, whose prior is no longer N(0, I)."""
    prior = LearnedPrior(LATENTS, couplings=2, hidden_width=4, components=1, labels=0)
    decoder = model.decoder
    assert isinstance(decoder, LinearDecoder)
    with torch.no_grad():
        prior.mixture.means.zero_()
        for coupling in prior.flow:
            bias: Any = coupling.get_parameter("layers.4.bias")
            bias[:LATENTS] = 2.0 * torch.atanh(-torch.log(scale) / 2.0)
            bias[LATENTS:] = -shift / scale
    weight = decoder.weight / scale
    return VAE(
        encoder=MovedEncoder(model, scale, shift),
        decoder=LinearDecoder(weight, decoder.offset - weight @ shift),
        likelihood=model.likelihood,
        image_shape=model.image_shape,
        latent_size=LATENTS,
        logvar_bounds=BOUNDS,
        prior=prior,
    )


@pytest.mark.parametrize("samples", [2, 5])
def test_importance_bound_of_a_learned_prior_is_the_exact_log_likelihood_of_the_same_model(samples):
    """Moved latents with a prior that moves along: p(x) is the same, and so is every weight."""
    generator = torch.Generator().manual_seed(3)
    linear, exact = linear_model(generator)
    model = with_affine_latents(linear, torch.tensor([1.4, 0.7, 1.1]), torch.tensor([0.6, -0.3, 0.2]))
    x = (exact.loc + torch.randn(4, PIXELS, generator=generator)).view(4, 1, 3, 3)
    found = importance_bound(model, x, samples)
    torch.testing.assert_close(found, exact.log_prob(x.flatten(1)), atol=1e-3, rtol=0)
    # The twin: with N(0, I) the same weights belong to another model.
    model.prior = StandardNormal(LATENTS)
    assert (importance_bound(model, x, samples) - found).abs().max() > 0.1


def test_elbo_of_a_learned_prior_is_right_on_average():
    linear, exact = linear_model(torch.Generator().manual_seed(0))
    model = with_affine_latents(linear, torch.tensor([1.4, 0.7, 1.1]), torch.tensor([0.6, -0.3, 0.2]))
    x = exact.loc + torch.randn(PIXELS, generator=torch.Generator().manual_seed(1))
    draws = elbo_terms(
        model, x.view(1, 1, 3, 3).expand(8000, 1, 3, 3), generator=torch.Generator().manual_seed(2)
    ).elbo
    error = draws.std().item() / math.sqrt(len(draws))
    assert error < 0.05
    assert draws.mean().item() == pytest.approx(exact.log_prob(x).item(), abs=4.0 * error)


@pytest.mark.parametrize("samples", [1, 3])
def test_label_costs_what_the_prior_says_times_its_weight(samples):
    torch.manual_seed(0)
    prior = LearnedPriorConfig(couplings=2, hidden_width=4, components=2, labels=3)
    model: Any = build_model(ModelConfig(latent_size=2, trunk=MLPTrunk(), prior=prior), (1, 8, 8))
    x, labels = torch.rand(3, 1, 8, 8).round(), torch.tensor([0, 2, 1])

    def terms(labels: Tensor | None, weight: float) -> ObjectiveTerms:
        noise = torch.Generator().manual_seed(0)
        return elbo_terms(model, x, samples=samples, labels=labels, label_weight=weight, generator=noise)

    costs = terms(labels, 0.5)
    assert costs.label_nll is not None
    # Near N(0, I) the label is a guess among three.
    torch.testing.assert_close(costs.label_nll, torch.full((3,), math.log(3.0)), atol=0.3, rtol=0)
    assert terms(None, 0.5).label_nll is None
    expected = terms(None, 0.5).loss + 0.5 * costs.label_nll.mean()
    torch.testing.assert_close(costs.loss, expected)
    torch.testing.assert_close(terms(labels, 0.0).loss, terms(None, 0.0).loss)
