"""The report of a model with a learned prior: where its samples come from, and the parts of its KL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.config.model_section import LearnedPriorConfig
from training.evaluation.report.latents import find_latents
from training.evaluation.report.likelihood import find_likelihood
from training.evaluation.report.priors import priors_of

PRIOR = LearnedPriorConfig(couplings=2, hidden_width=8, components=2, labels=10)


@pytest.fixture
def bench(bench_of, make_model):
    model = make_model(prior=PRIOR)
    with torch.no_grad():
        # Each label at a place of its own.
        model.prior.mixture.means += torch.arange(10.0).repeat_interleave(2).unsqueeze(1)
    return bench_of(model)


def test_samples_come_from_the_learned_prior_and_from_that_of_each_label(bench):
    whole, by_label = priors_of(bench)
    assert (whole.name, whole.labelled) == ("learned", False)
    assert (by_label.name, by_label.labelled) == ("learned-by-label", True)
    labels = np.repeat(np.arange(10), 200)
    z = by_label.draw(len(labels), bench.generator(0), labels)
    means = z.reshape(10, 200, 3).mean(axis=(1, 2))
    np.testing.assert_allclose(means - means[0], np.arange(10), atol=0.4)
    assert whole.draw(5, bench.generator(0), None).shape == (5, 3)


def test_densities_are_those_of_the_prior(bench):
    whole, by_label = priors_of(bench)
    z = np.random.default_rng(0).normal(4.0, 3.0, (50, 3))
    labels = np.arange(50) % 10
    prior = bench.model.prior
    with torch.inference_mode():
        expected = prior.log_prob(torch.from_numpy(z).float())
    np.testing.assert_allclose(whole.log_density(z, None), expected, atol=1e-4)
    # log p(z) = log Σ_y p(y) p(z|y)
    each = [by_label.log_density(z, np.full(50, label)) for label in range(10)]
    total = np.logaddexp.reduce([one + np.log(p) for one, p in zip(each, prior.label_shares(), strict=True)])
    np.testing.assert_allclose(total, expected, atol=1e-3)
    np.testing.assert_allclose(by_label.log_density(z, labels)[3], each[3][3], atol=1e-6)


def test_labels_of_a_version_may_have_another_order(bench):
    """The manifest's order decides, and the names of the data choose."""
    turned = tuple(str(label) for label in reversed(range(10)))
    other = replace(bench, subject=replace(bench.subject, prior_labels=turned))
    _, by_label = priors_of(other)
    z = by_label.draw(200, other.generator(0), np.zeros(200, np.int64))
    assert z.mean() == pytest.approx(9.0, abs=1.0)


def test_a_data_set_with_other_labels_has_no_samples_by_label(bench):
    other = replace(bench, subject=replace(bench.subject, prior_labels=("a", "b")))
    assert [prior.name for prior in priors_of(other)] == ["learned"]


def test_nothing_is_said_of_an_even_plane(bench_of, make_model):
    """Latents of a learned prior do not follow N(0, I), and its plane has no quantiles."""
    bench = bench_of(make_model(latent_size=2, prior=PRIOR))
    section = find_latents(bench)
    assert not [figure.name for figure in section.figures if figure.name.startswith("scatter_")]
    assert "manifold" not in [picture.name for picture in section.pictures]


def test_parts_of_the_divergence_add_up_to_the_estimate(bench):
    evaluation, findings = find_likelihood(bench, importance_samples=2, importance_images=5)
    figures = {figure.name: figure.value for figure in findings.figures}
    assert figures["mutual_information"] + figures["marginal_kl"] == pytest.approx(evaluation["kl"], abs=1e-4)
    assert evaluation["kl"] != pytest.approx(sum(evaluation.kl_per_dimension), abs=0.1)
    (bars,) = findings.pictures
    assert "KL of each latent dimension to N(0, 1)" in bars.caption
