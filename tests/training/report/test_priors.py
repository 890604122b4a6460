"""What samples are drawn from: the prior of training, or what stands in for it where there is none."""

import numpy as np
import pytest
import torch

from training.report.priors import GaussianOfCodes, StandardNormal, priors_of


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
