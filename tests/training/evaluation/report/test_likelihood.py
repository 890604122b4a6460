"""The likelihood section: parts that add up, a baseline by hand, and alarms that go off."""

import math

import pytest
import torch
from torch import nn

from training.config.model_section import GaussianConfig
from training.data import ImageData, ImageSet, to_unit_interval
from training.evaluation.report.likelihood import find_likelihood
from training.models import VAE, Bernoulli, DiagonalGaussian


def find(bench, **options):
    return find_likelihood(bench, **{"importance_samples": 2, "importance_images": 5, **options})


def by_name(findings):
    return {figure.name: figure for figure in findings.figures}


def last_layer(model):
    return [module for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]


def test_figures_are_those_of_the_evaluation_and_the_divergence_is_taken_apart(bench_of):
    evaluation, findings = find(bench_of())
    figures = by_name(findings)
    for metric in evaluation.metrics:
        assert figures[metric.name].value == metric.value
        assert figures[metric.name].protocol == metric.protocol
    parts = figures["mutual_information"].value + figures["marginal_kl"].value
    assert parts == pytest.approx(evaluation["kl"], abs=1e-4)
    assert figures["mutual_information"].value <= math.log(100)
    assert "ln N = 4.61" in figures["mutual_information"].protocol
    assert findings.series["kl_per_dimension"] == evaluation.kl_per_dimension
    assert [picture.name for picture in findings.pictures] == ["kl_per_dimension"]


def test_information_at_its_cap_says_so(bench_of, make_model):
    model = make_model()
    with torch.no_grad():
        last_layer(model).weight.mul_(100.0)  # posteriors far apart
    findings = find(bench_of(model))[1]
    assert "so I(x; z) is at least that" in by_name(findings)["mutual_information"].protocol
    collapsed = make_model()
    with torch.no_grad():
        last_layer(collapsed).weight.zero_()
    findings = find(bench_of(collapsed))[1]
    assert "at least that" not in by_name(findings)["mutual_information"].protocol


def test_mean_image_costs_what_independent_pixels_cost(bench_of, digits):
    found = by_name(find(bench_of())[1])["nll_of_mean_image"].value
    train, test = (to_unit_interval(part.images).double() for part in (digits.train, digits.test))
    mean = (train.sum(dim=0) + 0.5) / (len(train) + 1)
    bernoulli = torch.distributions.Bernoulli(probs=mean)
    binarised = (torch.rand(50, *test.shape, generator=torch.Generator().manual_seed(0)) < test).double()
    drawn = -bernoulli.log_prob(binarised).sum(dim=(2, 3, 4)).mean(dim=1)
    assert found == pytest.approx(drawn.mean().item(), abs=4.0 * (drawn.std() / math.sqrt(50)).item())


def test_mean_image_of_a_gaussian_costs_what_torch_says(bench_of, digits):
    found = by_name(find(bench_of(likelihood=GaussianConfig(sigma=0.3)))[1])["nll_of_mean_image"].value
    train, test = (to_unit_interval(part.images).double() for part in (digits.train, digits.test))
    mean = (train.sum(dim=0) + 0.5) / (len(train) + 1)
    gaussian = torch.distributions.Normal(mean, (train - mean).square().mean().sqrt())
    assert found == pytest.approx(-gaussian.log_prob(test).sum(dim=(1, 2, 3)).mean().item(), rel=1e-9)


def test_collapse_raises_the_alarm(bench_of, make_model):
    model = make_model()
    with torch.no_grad():
        last_layer(model).weight.zero_()
        last_layer(model).bias.zero_()
    alarms = find(bench_of(model))[1].alarms
    assert any(alarm.startswith("posterior collapse: the KL is 0.0") for alarm in alarms)


def test_dead_units_raise_the_alarm(bench_of, make_model):
    model = make_model()
    with torch.no_grad():
        last_layer(model).weight.mul_(10.0)
    assert not any(alarm.startswith("dead units") for alarm in find(bench_of(model))[1].alarms)
    with torch.no_grad():
        last_layer(model).weight[1] = 0.0  # mu of latent 1 of 3 no longer moves with the image
    alarms = find(bench_of(model))[1].alarms
    assert any(alarm.startswith("dead units: 1 of 3 latents hardly depend on the image") for alarm in alarms)


def test_model_that_is_worse_than_the_mean_image_raises_the_alarm(bench_of):
    """An untrained decoder says nearly ½ for every pixel: 784 ln 2 = 543 nats."""
    alarms = find(bench_of())[1].alarms
    assert any(alarm.startswith("a likelihood that explains nothing: negative_elbo is") for alarm in alarms)


def test_model_far_below_the_mean_image_raises_no_such_alarm(bench_of, digits):
    """Made by hand: every image is dark or bright on its left, and the decoder reads which off z."""
    left = torch.zeros(1, 28, 28)
    left[..., :14] = 1.0
    bright = torch.arange(60) % 2
    images = (255.0 * bright.view(-1, 1, 1, 1) * left).to(torch.uint8)
    data = ImageData("bars", ImageSet("bars train", images), ImageSet("bars test", images[:20]))
    model = LeftHalf()
    evaluation, findings = find(bench_of(model, data=data))
    assert evaluation["negative_elbo"] < 5.0
    dark = 0.5 / 61.0  # what is counted for a pixel that was never bright in 60 images
    expected = 392 * math.log(2.0) - 392 * math.log1p(-dark)
    assert by_name(findings)["nll_of_mean_image"].value == pytest.approx(expected)
    assert findings.alarms == ()


class LeftHalf(VAE):
    """One latent, mu = ±2 for a bright or dark left half; the decoder draws what the sign says."""

    def __init__(self):
        super().__init__(
            encoder=nn.Identity(),
            decoder=nn.Identity(),
            likelihood=Bernoulli(),
            image_shape=(1, 28, 28),
            latent_size=1,
            logvar_bounds=(-8.0, 2.0),
        )
        self.steepness = nn.Parameter(torch.tensor(30.0))

    def encode(self, x):
        mu = 4.0 * x[..., :14].mean(dim=(1, 2)).mean(dim=-1, keepdim=True) - 2.0
        return DiagonalGaussian(mu=mu, logvar=torch.full_like(mu, -5.0))

    def decode_params(self, z):
        params = torch.full((len(z), 1, 28, 28), -20.0)
        params[..., :14] = (self.steepness * z).view(-1, 1, 1, 1).clamp(-20.0, 20.0)
        return params


@pytest.mark.parametrize(("sigma", "rings"), [(0.02, True), (0.3, False), (5.0, True)])
def test_sigma_far_from_the_residuals_raises_the_alarm(bench_of, sigma, rings):
    """An untrained decoder misses by about a third of the pixel range."""
    alarms = find(bench_of(likelihood=GaussianConfig(sigma=sigma)))[1].alarms
    assert any("does not fit the data: σ is" in alarm for alarm in alarms) is rings


def test_autoencoder_has_costs_and_no_divergence(bench_of):
    _, findings = find(bench_of(kind="ae"))
    assert list(by_name(findings)) == [
        "reconstruction_nll",
        "reconstruction_rmse",
        "mean_image_rmse",
        "pca_rmse",
        "nll_of_mean_image",
    ]
    assert findings.pictures == ()
