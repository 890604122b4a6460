"""Log densities against sums, integrals and the standard library; and every row by itself."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from service.engine.operations.log_densities import (
    LEAST_PROBABILITY,
    kl_to_standard_normal,
    log_bernoulli,
    log_diagonal_gaussian,
    log_gaussian,
    log_mean_exp,
    log_standard_normal,
)

RNG = np.random.default_rng(3)


def rows(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_bernoulli_probabilities_of_all_images_add_up_to_one():
    x = np.array(list(itertools.product([False, True], repeat=6)))
    p = np.repeat(RNG.random((1, 6), dtype=np.float32), len(x), axis=0)
    log_p = log_bernoulli(x, p)
    assert math.exp(float(log_mean_exp(log_p[np.newaxis])[0])) * len(x) == pytest.approx(1.0, abs=1e-12)
    one = math.prod(float(q) if bit else 1.0 - float(q) for bit, q in zip(x[37], p[0], strict=True))
    assert log_p[37] == pytest.approx(math.log(one), abs=1e-12)


def test_a_pixel_that_was_held_for_impossible_costs_a_bounded_amount():
    x = np.array([[True, False, True, False]])
    p = np.array([[0.0, 1.0, 1.0, 0.0]], np.float32)
    assert log_bernoulli(x, p)[0] == pytest.approx(2 * math.log(LEAST_PROBABILITY))
    assert log_bernoulli(~x[:, 2:], p[:, 2:])[0] == log_bernoulli(x[:, :2], p[:, :2])[0]
    assert log_bernoulli(x[:, 2:], p[:, 2:])[0] == 0.0


def test_gaussians_agree_with_the_standard_library():
    x, mean = rows(3, 5), rows(3, 5)
    expected = [
        sum(math.log(NormalDist(float(m), 0.7).pdf(float(v))) for v, m in zip(xs, ms, strict=True))
        for xs, ms in zip(x, mean, strict=True)
    ]
    np.testing.assert_allclose(log_gaussian(x, mean, sigma=0.7), expected, rtol=1e-12)
    np.testing.assert_allclose(
        log_diagonal_gaussian(x, mu=mean, logvar=np.full_like(x, 2 * math.log(0.7))), expected, rtol=1e-6
    )
    np.testing.assert_allclose(
        log_standard_normal(x), log_gaussian(x, np.zeros_like(x), sigma=1.0), rtol=1e-14
    )


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.3, -2.0), (-0.4, 1.5), (0.0, 1e-9), (3.0, -8.0)])
def test_kl_agrees_with_a_numerical_integral(mu, logvar):
    std = math.exp(0.5 * logvar)
    z = np.linspace(mu - 12 * std, mu + 12 * std, 20_001)
    log_q = -0.5 * ((z - mu) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    integral = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
    kl = kl_to_standard_normal(np.array([[mu]]), np.array([[logvar]]))[0]
    assert kl == pytest.approx(integral, abs=1e-9)
    assert kl >= 0.0


def test_log_mean_exp_neither_overflows_nor_vanishes():
    assert log_mean_exp(np.array([[1e5, 1e5]]))[0] == 1e5
    assert log_mean_exp(np.array([[-1e5, -1e5 + math.log(3)]]))[0] == pytest.approx(-1e5 + math.log(2))
    assert log_mean_exp(np.array([[-3.25]]))[0] == -3.25


def test_no_row_depends_on_the_others_by_one_bit():
    """Vector instructions treat remainders apart: 7, 42 and 784 values leave different ones."""
    for size in (1, 5, 7, 42, 784):
        x, p = RNG.random((37, size)) < 0.3, RNG.random((37, size), dtype=np.float32)
        z, mu, logvar = rows(37, size), rows(37, size), rows(37, size)
        weights = RNG.normal(0.0, 30.0, (37, size))

        def figures(of: slice | list[int]) -> list[np.ndarray]:
            return [
                log_bernoulli(x[of], p[of]),  # noqa: B023
                log_gaussian(z[of], mu[of], sigma=0.3),  # noqa: B023
                log_standard_normal(z[of]),  # noqa: B023
                log_diagonal_gaussian(z[of], mu=mu[of], logvar=logvar[of]),  # noqa: B023
                kl_to_standard_normal(mu[of], logvar[of]),  # noqa: B023
                log_mean_exp(weights[of]),  # noqa: B023
            ]

        together = figures(slice(None))
        for of in ([0], [36], [5, 3, 11], slice(4, 21)):
            for whole, part in zip(together, figures(of), strict=True):
                assert whole[of].tobytes() == part.tobytes(), size
