"""What samples are drawn from: the prior of training, or what stands in for it where there is none."""

import numpy as np
import pytest
import torch

from model_store.prior import GaussianMixture
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.priors import FittedMixtures, GaussianOfCodes, StandardNormal, priors_of
from training.evaluation.subject import SubjectPrior


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_standard_normal_has_mean_zero_and_covariance_one_and_is_decided_by_its_seed():
    z = StandardNormal(3).draw(100_000, seeded(), None)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=0.015)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.02)
    np.testing.assert_array_equal(StandardNormal(3).draw(100_000, seeded(), None), z)
    assert (StandardNormal(3).draw(5, seeded(1), None) != z[:5]).all()


def test_gaussian_of_codes_has_their_mean_and_covariance():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3)) + [1.0, -5.0, 0.0]
    z = GaussianOfCodes.fit(codes).draw(200_000, seeded(), None)
    scale = codes.std(axis=0).max()
    np.testing.assert_allclose(z.mean(axis=0), codes.mean(axis=0), atol=0.02 * scale)
    np.testing.assert_allclose(np.cov(z.T), np.cov(codes.T, bias=True), atol=0.03 * scale**2)


def test_code_that_never_moves_is_drawn_where_it_is():
    codes = np.stack([np.arange(10.0), np.full(10, 3.0)], axis=1)
    np.testing.assert_allclose(GaussianOfCodes.fit(codes).draw(50, seeded(), None)[:, 1], 3.0)


@pytest.mark.parametrize(("kind", "name"), [("vae", "standard"), ("ae", "gaussian-of-codes")])
def test_every_kind_of_model_has_something_to_draw_from(bench_of, kind, name):
    bench = bench_of(kind=kind)
    (prior,) = priors_of(bench)
    assert prior.name == name
    assert not prior.labelled
    assert prior.draw(40, bench.generator(0), None).shape == (40, 3)


def mixture(*means: float, weights: tuple[float, ...] = (1.0,)) -> GaussianMixture:
    """In two latents, each component at (mean, 0) with standard deviations 1 and ½ and a correlation."""
    return GaussianMixture(
        weights=np.array(weights),
        means=np.array([[mean, 0.0] for mean in means], np.float32),
        cholesky=np.array([[[1.0, 0.0], [0.3, 0.4]]] * len(means), np.float32),
    )


def test_fitted_mixture_is_drawn_with_its_mean_and_covariance():
    fitted = FittedMixtures(
        (mixture(-2.0, 4.0, weights=(0.75, 0.25)),), "fitted", "a mixture", labelled=False
    )
    z = fitted.draw(200_000, seeded(), None)
    # By the law of total variance; the means are -2 and 4 with weights ¾ and ¼.
    np.testing.assert_allclose(z.mean(axis=0), [-0.5, 0.0], atol=0.02)
    np.testing.assert_allclose(np.cov(z.T), [[1.0 + 6.75, 0.3], [0.3, 0.25]], atol=0.05)


def test_each_row_is_drawn_from_the_mixture_of_its_label():
    fitted = FittedMixtures((mixture(-50.0), mixture(50.0)), "fitted-by-label", "two", labelled=True)
    labels = np.array([0, 1, 1, 0])
    z = fitted.draw(4, seeded(), labels)
    np.testing.assert_array_equal(z[:, 0] > 0, labels == 1)


def test_log_density_agrees_with_torch_distributions():
    z = np.random.default_rng(0).normal(0.0, 2.0, (30, 2))
    rows = torch.from_numpy(z)
    normal = torch.distributions.MultivariateNormal
    standard = normal(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    np.testing.assert_allclose(StandardNormal(2).log_density(z, None), standard.log_prob(rows), rtol=1e-6)

    codes = z @ [[1.0, 0.5], [0.0, 2.0]] + [3.0, -1.0]
    covariance = torch.from_numpy(np.cov(codes.T, bias=True))
    of_codes = normal(torch.from_numpy(codes.mean(axis=0)), covariance)
    np.testing.assert_allclose(
        GaussianOfCodes.fit(codes).log_density(z, None), of_codes.log_prob(rows), rtol=1e-6
    )

    factor = torch.tensor([[1.0, 0.0], [0.3, 0.4]], dtype=torch.float64)
    means = torch.tensor([[-2.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    each = normal(means, scale_tril=factor.expand(2, 2, 2))
    weights = torch.tensor([0.75, 0.25], dtype=torch.float64)
    expected = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), each)
    whole = FittedMixtures((mixture(-2.0, 4.0, weights=(0.75, 0.25)),), "fitted", "a mixture", labelled=False)
    np.testing.assert_allclose(whole.log_density(z, None), expected.log_prob(rows), rtol=1e-5)

    labels = np.arange(30) % 2
    by_label = FittedMixtures((mixture(-2.0), mixture(4.0)), "fitted-by-label", "two", labelled=True)
    given = each.log_prob(rows.unsqueeze(1))[torch.arange(30), torch.from_numpy(labels)]
    np.testing.assert_allclose(by_label.log_density(z, labels), given, rtol=1e-5)


def test_codes_that_do_not_vary_have_no_density():
    codes = np.stack([np.arange(10.0), np.full(10, 3.0)], axis=1)
    assert GaussianOfCodes.fit(codes).log_density(codes, None) is None


def test_a_version_with_a_prior_is_sampled_from_it_and_by_label_where_all_labels_have_one(
    make_model, subject_of, digits
):
    model = make_model(latent_size=2)
    count = int(digits.train.labels.max()) + 1
    names = tuple(map(str, range(count)))
    whole = SubjectPrior(mixtures=(mixture(0.0),) * (1 + count), labels=names)
    partly = SubjectPrior(mixtures=(mixture(0.0),) * count, labels=names[:-1])
    for prior, expected in (
        (whole, ["standard", "fitted", "fitted-by-label"]),
        (partly, ["standard", "fitted"]),
        (None, ["standard"]),
    ):
        bench = EvaluationContext(subject=subject_of(model, prior=prior), data=digits, seed=0, judge=None)
        assert [each.name for each in priors_of(bench)] == expected
