"""Samples are counted, compared and drawn by what the judge says, and by nothing where there is no judge."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from training.data import to_unit_interval
from training.evaluation.report import samples
from training.evaluation.report.samples import find_samples
from training.judge.classifier import Judge, Verdicts


@dataclass(frozen=True, eq=False)
class Copies:
    """A prior whose samples are test images, by a decoder that gives image i for z = i."""

    name: str = "copies"
    title: str = "copies"
    about: str = "the test images themselves"
    labelled: bool = False

    def log_density(self, z, labels):
        return None

    def draw(self, rows, generator, labels):
        return np.repeat(np.arange(rows, dtype=np.float64)[:, None], 3, axis=1)


@dataclass(frozen=True, eq=False)
class ByLabel(Copies):
    """Draws an image of the label that is asked for."""

    labelled: bool = True
    known: Any = None

    def draw(self, rows, generator, labels):
        wanted = [np.flatnonzero(self.known == label)[0] for label in labels]
        return np.repeat(np.asarray(wanted, dtype=np.float64)[:, None], 3, axis=1)


class Reader(Judge):
    """Knows what it was shown: reads the label from the images' own list, and is sure of all but `unsure`."""

    known: dict[bytes, int]
    labels: Any
    unsure: int

    def __init__(self, judge, images, labels, unsure=0):
        object.__setattr__(self, "facts", judge.facts)
        object.__setattr__(self, "network", judge.network)
        object.__setattr__(self, "known", {image.numpy().tobytes(): i for i, image in enumerate(images)})
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "unsure", unsure)

    def ask(self, images, *, what="", progress=None):
        rows = [self.known.get(image.numpy().tobytes(), 0) for image in images]
        probabilities = torch.full((len(rows), 10), 0.01)
        for place, row in enumerate(rows):
            probabilities[place, self.labels[row]] = 0.4 if row < self.unsure else 0.91
        features = torch.stack(
            [images[:, 0, 10:14, 10 + i : 14 + i].sum(dim=(1, 2)) for i in range(5)], dim=1
        )
        return Verdicts(probabilities=probabilities, features=features)


def figures(findings):
    return {figure.name: figure for figure in findings.figures}


@pytest.fixture
def copying_bench(bench_of, digits, judge, monkeypatch):
    """Samples are exactly the test images."""

    def make(prior, unsure=0):
        x = to_unit_interval(digits.test.images)
        bench = bench_of(judge=Reader(judge, x, digits.test.labels, unsure))
        monkeypatch.setattr(bench.model, "decode", lambda z: x[z[:, 0].long()])
        monkeypatch.setattr(samples, "priors_of", lambda bench: (prior,))
        return bench

    return make


def test_samples_that_are_the_test_images_are_perfect(copying_bench):
    (findings,) = find_samples(copying_bench(Copies()))
    found = figures(findings)
    assert found["readable_share"].value == 1.0
    assert found["frechet_distance"].value == pytest.approx(0.0, abs=1e-6)
    assert found["frechet_floor"].value > 0.1
    assert found["coverage"].value == 1.0
    assert found["density"].value >= 1.0
    assert "asked_label_share" not in found
    assert findings.key == "samples_copies"
    assert sum(findings.series["label_shares"]) == pytest.approx(1.0)


def test_images_that_the_judge_is_not_sure_of_are_counted_and_shown_first(copying_bench):
    (findings,) = find_samples(copying_bench(Copies(), unsure=25))
    assert figures(findings)["readable_share"].value == 0.75
    assert "of the test images themselves 75.00 %" in figures(findings)["readable_share"].protocol
    worst = next(picture for picture in findings.pictures if picture.name == "least_readable")
    assert worst.caption.startswith("The 48 of 100 samples with the lowest certainty of the judge")


def test_prior_that_gives_the_label_asked_for_scores_all_of_it(copying_bench, digits):
    prior = ByLabel()
    object.__setattr__(prior, "known", digits.test.labels.numpy())
    (findings,) = find_samples(copying_bench(prior))
    assert figures(findings)["asked_label_share"].value == 1.0
    assert findings.series["label_shares"] == pytest.approx([0.1] * 10)


def test_samples_by_label_are_drawn_in_a_row_for_each_by_its_name(copying_bench, digits, monkeypatch):
    prior = ByLabel()
    known = digits.test.labels.numpy()
    object.__setattr__(prior, "known", known)
    bench = copying_bench(prior)
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    object.__setattr__(bench, "data", replace(digits, label_names=names))
    drawn = {}

    def rows(images, **how):
        drawn.update(how, x=images)
        return b""

    def bars(*values, **how):
        drawn["bars"] = how["names"]
        return b""

    monkeypatch.setattr("training.evaluation.report.samples.charts.labelled_rows", rows)
    monkeypatch.setattr("training.evaluation.report.samples.charts.paired_bars", bars)
    find_samples(bench)
    assert drawn["row_names"] == drawn["bars"] == list(names)
    x = to_unit_interval(digits.test.images)
    for label, row in enumerate(drawn["x"].view(10, drawn["columns"], *x.shape[1:])):
        assert all(torch.equal(image, x[np.flatnonzero(known == label)[0]]) for image in row)


def test_without_a_judge_there_are_pictures_and_only_the_density_of_the_prior(bench_of):
    bench = bench_of()
    (findings,) = find_samples(bench)
    (figure,) = findings.figures
    assert figure.name == "prior_log_density"
    z = bench.posteriors.z.double()
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1).mean().item()
    assert figure.value == pytest.approx(expected)
    assert [picture.name for picture in findings.pictures] == ["samples_standard"]


def test_another_seed_draws_other_samples_and_the_same_seed_the_same(bench_of):
    first, same, other = (find_samples(bench_of(seed=seed))[0].pictures[0].png for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_autoencoder_is_sampled_from_what_stands_in_for_its_prior(bench_of, judge):
    (findings,) = find_samples(bench_of(kind="ae", judge=judge))
    assert findings.key == "samples_gaussian_of_codes"
    assert "an autoencoder has no prior" in figures(findings)["readable_share"].protocol
