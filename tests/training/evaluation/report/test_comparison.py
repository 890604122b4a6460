"""Models side by side: every complaint has its numbers and pictures, in the order the models were named."""

import pytest
from tiny_priors import fitted_prior

from training.config.model_section import LearnedPriorConfig
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.assemble import Request, measure
from training.evaluation.report.comparison import (
    COMPLAINTS,
    Comparison,
    _best,
    comparison_markdown,
    comparison_page,
)
from training.evaluation.report.section_results import Figure
from training.evaluation.subject import SubjectPrior

REQUEST = Request(importance_samples=2, importance_images=5)


@pytest.fixture(scope="module")
def both(make_model, subject_of, digits, judge):
    """An autoencoder and a VAE with two latents each, and with a fitted prior of every label."""
    entry, mixtures = fitted_prior(2, labels=dict.fromkeys("0123456789", 1))
    prior = SubjectPrior.of(entry, mixtures)

    def measured(kind):
        subject = subject_of(make_model(kind=kind, latent_size=2), label=f"runs/{kind}", prior=prior)
        return measure(EvaluationContext(subject=subject, data=digits, seed=0, judge=judge), REQUEST)

    return [measured("ae"), measured("vae")]


def test_every_complaint_names_figures_and_pictures_that_exist(both):
    """A figure that is renamed in its section must not silently leave this page."""
    for complaint in COMPLAINTS:
        for name in complaint.figures:
            assert any(report.figure(name, sections=complaint.sections) for report, _ in both), name
        for name in complaint.pictures:
            drawn = {
                picture.name
                for _, findings in both
                for section in findings
                for picture in section.pictures
                if not complaint.sections or section.key in complaint.sections
            }
            assert any(found == name or (name.endswith("_") and found.startswith(name)) for found in drawn), (
                name
            )


def test_page_sets_pictures_and_numbers_of_both_beside_one_another(both):
    page = comparison_page(both)
    assert "<h1>Comparison of runs/ae and runs/vae</h1>" in page
    for complaint in COMPLAINTS:
        assert f"<h2>{complaint.title}</h2>" in page
    assert page.index("runs/ae: Codes of the test images") < page.index("runs/vae: Codes of the test images")
    for report, _ in both:
        for name in ("readable_share", "scatter_holes", "largest_step_lerp"):
            assert f">{report.figure(name)}<" in page
        for alarm in report.alarms:
            assert alarm in page
    assert "Alarm, runs/ae:" in page
    assert "http" not in page


def test_what_only_one_of_them_has_is_a_dash_for_the_other(both):
    table = comparison_markdown([report for report, _ in both])
    row = next(line for line in table.splitlines() if line.startswith("| negative_elbo |"))
    assert row.split(" | ")[1] == "–"
    assert row.split(" | ")[2] == str(both[1][0].figure("negative_elbo"))
    assert "**Warning**, runs/ae: " in table


def test_what_is_said_of_a_fitted_prior_is_of_its_samples(both):
    """Sections on samples share the names of their figures: each complaint takes those of its own."""
    page = comparison_page(both)
    fitted = page[
        page.index("from a fitted or learned prior</h2>") : page.index(
            "<h2>Samples of a requested label are impossible"
        )
    ]
    for report, _ in both:
        assert f">{report.figure('frechet_distance', sections=('samples_fitted',))}<" in fitted
        assert report.figure("frechet_distance", sections=("samples_fitted",)) != report.figure(
            "frechet_distance"
        )
    assert "runs/ae: The first 96 samples from the fitted prior of all images" in fitted
    assert "samples from the fitted priors of the labels" not in fitted


def test_a_learned_prior_stands_where_another_model_has_a_fitted_one(
    both, make_model, subject_of, digits, judge
):
    """Each is the density that the model is sampled from, and so is that of a label."""
    prior = LearnedPriorConfig(couplings=1, hidden_width=4, components=1, labels=10)
    subject = subject_of(make_model(latent_size=2, prior=prior), label="runs/learned")
    learned = measure(EvaluationContext(subject=subject, data=digits, seed=0, judge=judge), REQUEST)
    page = comparison_page([both[1], learned])
    fitted = page[
        page.index("fitted or learned prior</h2>") : page.index("<h2>Samples of a requested label are")
    ]
    by_label = page[page.index("<h2>Samples of a requested label are") : page.index("is not continuous</h2>")]
    for part, keys in (
        (fitted, ("samples_fitted", "samples_learned")),
        (by_label, ("samples_fitted_by_label", "samples_learned_by_label")),
    ):
        for (report, findings), key in zip((both[1], learned), keys, strict=True):
            assert f">{report.figure('frechet_distance', sections=(key,))}<" in part
            (section,) = [each for each in findings if each.key == key]
            assert section.pictures[0].caption.split(".")[0] in part
    table = comparison_markdown([both[1][0], learned[0]])
    assert "| asked_label_share | " in table
    assert "| asked_label_share | – " not in table


def test_without_a_fitted_prior_nothing_is_said_of_one(make_model, subject_of, digits):
    subject = subject_of(make_model(latent_size=2))
    measured = measure(EvaluationContext(subject=subject, data=digits, seed=0, judge=None), REQUEST)
    page = comparison_page([measured, measured])
    assert "fitted prior" not in page
    assert "Samples of a requested label are impossible" not in page


def figure(value, better="higher"):
    return Figure(name="x", value=value, unit="share", protocol="a test", better=better)


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([figure(0.1), figure(0.2)], {1}),
        ([figure(0.1, "lower"), figure(0.2, "lower")], {0}),
        ([figure(0.2), figure(0.1), figure(0.2)], {0, 2}),
        ([figure(0.2), figure(0.2)], set()),
        ([figure(0.1, "neither"), figure(0.2, "neither")], set()),
        ([figure(0.1), None], set()),
        ([None, figure(0.1)], set()),
    ],
)
def test_best_is_marked_only_where_all_have_a_figure_and_one_is_better(figures, best):
    assert _best(figures) == best


def test_comparison_survives_its_own_json(both):
    comparison = Comparison(reports=tuple(report for report, _ in both))
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_without_a_judge_the_page_says_how_to_make_one(make_model, subject_of, digits):
    subject = subject_of(make_model(latent_size=2))
    measured = measure(EvaluationContext(subject=subject, data=digits, seed=0, judge=None), REQUEST)
    assert "vae-train judge" in comparison_page([measured, measured])
