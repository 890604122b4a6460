"""The learned prior against torch.distributions, Jacobians and models that can be solved exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from model_store import LabelDraws
from training.config.model_section import LearnedPriorConfig, MLPTrunk, ModelConfig, StandardPriorConfig
from training.models import LabelledPrior, LearnedPrior, StandardNormal, build_model
from training.models.posterior import DiagonalGaussian, standard_normal_log_prob
from training.models.priors import label_nll

LATENTS = 5


def fresh(latents=LATENTS, *, couplings=6, components=3, labels=0, hidden_width=16) -> LearnedPrior:
    torch.manual_seed(0)
    return LearnedPrior(
        latents, couplings=couplings, hidden_width=hidden_width, components=components, labels=labels
    )


def trained(*arguments, strength: float = 0.5, **keys) -> LearnedPrior:
    """One whose every parameter is far from its start."""
    prior = fresh(*arguments, **keys)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=strength)
    return prior


def affine(log_scale: Tensor, shift: Tensor) -> LearnedPrior:
    """u = z · exp(log_scale) + shift with u ~ N(0, I): z is Gaussian, and every figure has a closed form."""
    prior = fresh(len(shift), couplings=2, components=1)
    with torch.no_grad():
        prior.mixture.means.zero_()
        for coupling in prior.flow:
            bias = coupling.get_parameter("layers.4.bias")
            bias[: len(shift)] = 2.0 * torch.atanh(log_scale / 2.0)
            bias[len(shift) :] = shift
    return prior


def gaussian_of(log_scale: Tensor, shift: Tensor) -> Independent:
    return Independent(Normal(-shift * torch.exp(-log_scale), torch.exp(-log_scale)), 1)


def test_only_a_prior_that_can_have_labels_has_their_methods():
    """So that a type checker finds a call for the labels of N(0, I), which has none."""
    labelled = {name for name in vars(LabelledPrior) if not name.startswith("_")}
    assert {"log_prob_by_label", "label_shares", "draw_labelled"} <= labelled
    assert not [name for name in ("labels", *labelled) if hasattr(StandardNormal(LATENTS), name)]


@pytest.mark.parametrize(("couplings", "labels"), [(0, 0), (6, 0), (6, 4)])
def test_learned_prior_starts_near_the_standard_normal(couplings, labels, generator):
    """So that training can start from a model whose prior was N(0, I)."""
    prior = fresh(couplings=couplings, labels=labels)
    z = torch.randn(500, LATENTS, generator=generator)
    torch.testing.assert_close(prior.log_prob(z), standard_normal_log_prob(z), atol=0.5, rtol=0)
    with torch.no_grad():
        prior.mixture.means.zero_()
    torch.testing.assert_close(prior.log_prob(z), standard_normal_log_prob(z), atol=1e-5, rtol=0)


def test_mixture_without_couplings_agrees_with_torch_distributions(generator):
    prior = trained(couplings=0)
    weights, means, cholesky = prior.mixture.factors()
    expected = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, scale_tril=cholesky))
    z = torch.randn(50, LATENTS, generator=generator)
    torch.testing.assert_close(
        prior.log_prob(z).double(), expected.log_prob(z.double()), atol=1e-4, rtol=1e-5
    )


def test_log_det_is_that_of_the_jacobian(generator):
    prior = trained().double()
    z = torch.randn(8, LATENTS, generator=generator, dtype=torch.float64)
    _, log_det = prior.to_base(z)
    for row, found in zip(z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: prior.to_base(one[None])[0][0], row)
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(found.item(), abs=1e-6)


@pytest.mark.parametrize("latents", [2, 3, 5, 8, 32])
def test_inverse_returns_what_went_in(latents, generator):
    prior = trained(latents, couplings=10, strength=0.1)
    z = torch.randn(64, latents, generator=generator)
    with torch.no_grad():
        u, _ = prior.to_base(z)
        assert (u - z).abs().max() > 0.05, "the map does something"
        torch.testing.assert_close(prior.from_base(u), z, atol=1e-4, rtol=1e-4)


def test_density_integrates_to_one():
    prior = trained(2, couplings=2, components=2, strength=0.2)
    axis = torch.linspace(-14.0, 14.0, 701)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = prior.log_prob(grid).double().exp().sum() * (axis[1] - axis[0]).double() ** 2
    assert mass.item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("latents", [2, 3, 6, 8])
def test_two_couplings_a_digit_let_every_latent_depend_on_every_other(latents, generator):
    digits = math.ceil(math.log2(latents))
    z = torch.randn(latents, generator=generator)

    def depends(couplings: int) -> Tensor:
        prior = trained(latents, couplings=couplings)
        return torch.autograd.functional.jacobian(lambda one: prior.to_base(one[None])[0][0], z) != 0.0

    assert depends(2 * digits).all()
    assert not depends(1).all()


@pytest.mark.parametrize("samples", [1, 4])
def test_divergence_is_an_unbiased_estimate_of_the_exact_one(samples, generator):
    """A linear flow with a mixture of one makes p(z) Gaussian, so that the KL has a closed form."""
    log_scale, shift = torch.tensor([0.3, -0.5, 0.1]), torch.tensor([0.4, -0.2, 0.7])
    prior = affine(log_scale, shift)
    q = DiagonalGaussian(
        mu=torch.tensor([[0.5, -1.0, 0.2], [0.0, 2.0, -0.7]]),
        logvar=torch.tensor([[-1.0, -0.3, 0.2], [0.1, -2.0, -0.6]]),
    )
    exact = torch.distributions.kl_divergence(
        Independent(Normal(q.mu, q.sigma), 1), gaussian_of(log_scale, shift).expand((2,))
    )
    rounds = 4000
    many = q.repeated(rounds)
    with torch.no_grad():
        draws = many.repeated(samples)
        found = prior.divergence(many, draws.rsample(generator=generator)).view(2, rounds)
    error = found.std(dim=1) / math.sqrt(rounds)
    assert error.max() < 0.05
    assert ((found.mean(dim=1) - exact).abs() < 4.0 * error).all()


def test_gradient_of_the_divergence_is_that_of_both_logarithms_at_the_draw(generator):
    """The closed form of E_q[log q] has less noise than log q at the draw, and the same gradient."""
    prior = trained()
    mu = torch.randn(4, LATENTS, generator=generator, requires_grad=True)
    logvar = (0.5 * torch.randn(4, LATENTS, generator=generator)).requires_grad_()
    eps = torch.randn(4, LATENTS, generator=generator)

    def gradients(of_both: bool) -> tuple[Tensor, ...]:
        q = DiagonalGaussian(mu=mu, logvar=logvar)
        z = q.rsample(eps=eps)
        kl = q.log_prob(z) - prior.log_prob(z) if of_both else prior.divergence(q, z)
        return torch.autograd.grad(kl.sum(), (mu, logvar))

    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_entropy_of_the_posterior_agrees_with_torch_distributions(generator):
    q = DiagonalGaussian(mu=torch.zeros(3, 4), logvar=torch.randn(3, 4, generator=generator))
    torch.testing.assert_close(q.entropy(), Independent(Normal(q.mu, q.sigma), 1).entropy())


def test_draws_of_a_linear_flow_have_its_mean_and_deviation(generator):
    log_scale, shift = torch.tensor([0.3, -0.5, 0.1]), torch.tensor([0.4, -0.2, 0.7])
    with torch.no_grad():
        z = affine(log_scale, shift).draw(20_000, generator)
    expected = gaussian_of(log_scale, shift)
    torch.testing.assert_close(z.mean(dim=0), expected.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(dim=0), expected.stddev, atol=0.03, rtol=0.03)


def test_draws_and_density_belong_together(generator):
    """E_p[q/p] = 1 for any density q, if p is the density of the draws."""
    prior = trained(strength=0.1)
    with torch.no_grad():
        z = prior.draw(4000, generator)
        log_p = prior.log_prob(z)
        assert log_p.mean() > standard_normal_log_prob(z).mean() + 0.2
        ratio = (standard_normal_log_prob(z) - log_p).double().exp()
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.1)


def test_draws_of_a_label_are_named_by_it(generator):
    """p(y|z) of a draw of p(z|y) is on average above that of a draw of the others."""
    prior = trained(labels=3, strength=0.1)
    with torch.no_grad():
        prior.mixture.means[:3] += 2.0  # of label 0
        asked = torch.arange(3).repeat(400)
        log_p = torch.log_softmax(prior.log_prob_by_label(prior.draw_labelled(asked, generator)), dim=1)
    assert log_p[asked == 0, 0].exp().mean() > 0.9
    assert log_p[asked != 0, 0].exp().mean() < 0.1


def test_draws_of_a_label_are_the_first_of_its_candidates_with_enough_of_it(generator):
    """As many draws as the rule allows, and rows without an accepted one keep their best."""
    prior = trained(labels=3, strength=0.1)
    asked = torch.arange(3).repeat(300)

    def likely(rule: LabelDraws | None) -> Tensor:
        prior.label_draws = rule
        seeded = torch.Generator().manual_seed(1)
        log_p = torch.log_softmax(prior.log_prob_by_label(prior.draw_labelled(asked, seeded)), dim=1)
        return log_p.gather(1, asked[:, None]).exp().squeeze(1)

    with torch.no_grad():
        prior.mixture.means[:3] += 1.0  # of label 0
        plain, few, many = (
            likely(None),
            likely(LabelDraws(candidates=2, probability=0.4)),
            likely(LabelDraws(candidates=64, probability=0.4)),
        )
    kept = plain >= 0.4
    assert 100 < kept.sum() < 800
    torch.testing.assert_close(many[kept], plain[kept])
    assert (few >= plain).all()
    assert kept.sum() + 50 < (few >= 0.4).sum() < (many >= 0.4).sum()


def test_labels_share_the_density_between_them(generator):
    prior = trained(labels=4)
    z = torch.randn(20, LATENTS, generator=generator)
    joint = prior.log_prob_by_label(z)
    assert joint.shape == (20, 4)
    torch.testing.assert_close(torch.logsumexp(joint, dim=1), prior.log_prob(z))


def test_cost_of_a_label_is_minus_its_log_probability_over_the_draws(generator):
    prior = trained(labels=3)
    z, labels = torch.randn(6, LATENTS, generator=generator), torch.tensor([2, 0])
    found = label_nll(prior, z, labels)
    log_p = torch.log_softmax(prior.log_prob_by_label(z), dim=1)
    torch.testing.assert_close(found[0], -log_p[:3, 2].mean())
    torch.testing.assert_close(found[1], -log_p[3:, 0].mean())


def test_bfloat16_leaves_the_density_in_float32(generator):
    """A log density of 45 nats in bfloat16 would be wrong by tenths."""
    prior = trained(labels=2)
    z = torch.randn(9, LATENTS, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, by_label = prior.log_prob(z), prior.log_prob_by_label(z)
    assert torch.equal(inside, prior.log_prob(z))
    assert torch.equal(by_label, prior.log_prob_by_label(z))


def test_a_recipe_builds_its_prior_and_the_same_networks_as_without_one():
    """The prior takes its initial weights last, so the trunks of a seed are the same for every prior."""
    trunk = MLPTrunk(encoder_hidden=(8,), decoder_hidden=(8,))
    chosen = LearnedPriorConfig(couplings=2, hidden_width=8, components=2, labels=3)
    models = []
    for prior in (StandardPriorConfig(), chosen):
        torch.manual_seed(0)
        models.append(build_model(ModelConfig(latent_size=4, trunk=trunk, prior=prior), (1, 8, 8)))
    plain, learned = models
    assert isinstance(plain.prior, StandardNormal)
    assert isinstance(learned.prior, LearnedPrior)
    assert (len(learned.prior.flow), learned.prior.mixture.means.shape) == (2, (6, 4))
    assert not plain.prior.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, learned.state_dict()[name])
