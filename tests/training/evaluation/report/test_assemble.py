"""The whole report: every section, no figure twice, nothing but numbers, and a page that stands alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from training.data import ImageData, ImageSet
from training.errors import ConfigError, DataError, NonFiniteTraining
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.assemble import Request, measure
from training.evaluation.report.page import page_of
from training.evaluation.report.section_results import Report
from training.evaluation.subject import open_subject

REQUEST = Request(importance_samples=2, importance_images=5)


@pytest.fixture(scope="module")
def measured(bench_of, judge):
    """A VAE with two latents, before the judge."""
    return measure(bench_of(judge=judge, latent_size=2), REQUEST)


def test_report_has_every_section_and_no_figure_twice_in_one(measured):
    report, _ = measured
    assert list(report.sections) == [
        "likelihood",
        "reconstruction",
        "samples_standard",
        "latents",
        "interpolation",
        "detection",
    ]
    for section in report.sections.values():
        names = [figure.name for figure in section.figures]
        assert len(names) == len(set(names)) > 0
    assert all(figure.protocol for section in report.sections.values() for figure in section.figures)


def test_report_survives_its_own_json(measured):
    report, _ = measured
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_figure_is_found_by_name_and_its_absence_is_none(measured):
    report, _ = measured
    figure = report.figure("negative_elbo")
    assert figure is not None
    assert figure.value == report.evaluation["negative_elbo"]
    assert report.figure("accuracy") is None


def test_table_for_people_has_every_figure_with_its_protocol(measured):
    report, _ = measured
    table = report.to_markdown()
    for section in report.sections.values():
        for figure in section.figures:
            assert f"| {figure.name} | {figure} | {figure.unit} | {figure.protocol} |" in table
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {5}
    for alarm in report.alarms:
        assert f"**Warning:** {alarm}" in table


def test_same_seed_gives_the_same_report_in_whatever_batches(measured, bench_of, judge, monkeypatch):
    """Noise is drawn for images and samples, never for batches."""
    monkeypatch.setattr("training.evaluation.evaluation_context.BATCH", 33)
    again, _ = measure(bench_of(judge=judge, latent_size=2), REQUEST)
    report, _ = measured
    for key, section in report.sections.items():
        for figure, other in zip(section.figures, again.sections[key].figures, strict=True):
            assert other.value == pytest.approx(figure.value, rel=1e-3, abs=1e-3), figure.name


def test_another_seed_gives_another_report(measured, bench_of, judge):
    other, _ = measure(bench_of(judge=judge, latent_size=2, seed=1), REQUEST)
    report, _ = measured
    for name in ("negative_elbo", "frechet_distance", "largest_step_lerp"):
        assert other.figure(name).value != report.figure(name).value, name
    assert other.figure("reconstruction_rmse") == report.figure("reconstruction_rmse")


@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_published_version_gets_the_same_report(kind, tmp_path, digits, judge):
    store = ModelStore(tmp_path)
    publish_tiny(store, model=TinyModel.make(latent_size=2, kind=kind), kind=kind)
    bench = EvaluationContext(subject=open_subject("tiny", store=store), data=digits, seed=0, judge=judge)
    report, findings = measure(bench, REQUEST)
    assert report.subject == "tiny@1"
    assert report.measured_through.startswith("onnxruntime")
    assert any(alarm.startswith("other data: tiny@1") for alarm in report.alarms)
    assert len([picture for section in findings for picture in section.pictures]) >= 7


def test_colour_images_of_odd_sides_are_measured_too(bench_of, make_model):
    from training.config.model_section import MLPTrunk, ModelConfig
    from training.models import build_model

    generator = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randint(0, 256, (count, 3, 9, 11), generator=generator, dtype=torch.uint8)

    data = ImageData("noise", ImageSet("noise train", images(40)), ImageSet("noise test", images(30)))
    trunk = MLPTrunk(encoder_hidden=(8,), decoder_hidden=(8,))
    model = build_model(ModelConfig(latent_size=2, trunk=trunk), (3, 9, 11)).eval()
    report, _ = measure(bench_of(model, data=data), REQUEST)
    assert report.figure("linear_probe_accuracy") is None
    assert report.figure("scatter_evenness") is not None


def test_weights_that_are_not_finite_give_an_error_and_no_report(bench_of, make_model):
    model = make_model()
    with torch.no_grad():
        next(model.decoder.parameters())[0, 0] = torch.nan
    with pytest.raises(NonFiniteTraining, match="negative_elbo: expected a finite figure, got nan"):
        measure(bench_of(model), REQUEST)


def test_judge_of_other_labels_of_the_same_images_is_refused(bench_of, judge, digits):
    train = replace(digits.train, labels=9 - digits.train.labels)
    with pytest.raises(DataError, match="got one of other labels of the same images"):
        measure(bench_of(judge=judge, data=replace(digits, train=train)), REQUEST)


def test_judge_of_other_images_is_refused(bench_of, judge):
    other = replace(judge, facts=replace(judge.facts, image_shape=(3, 8, 8)))
    with pytest.raises(DataError, match=r"judge: expected one for images of shape \(1, 28, 28\)"):
        measure(bench_of(judge=other), REQUEST)


def test_size_out_of_range_is_refused(bench_of):
    with pytest.raises(ConfigError, match="importance_samples"):
        measure(bench_of(), Request(importance_samples=0, importance_images=5))


class Collector(HTMLParser):
    """Every address in a page, and whether its tags close."""

    def __init__(self):
        super().__init__()
        self.addresses, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    collector = Collector()
    collector.feed(page)
    assert collector.open == []
    return collector


def test_page_needs_nothing_else(measured):
    page = page_of(*measured)
    collector = read(page)
    assert collector.addresses
    assert all(address.startswith("data:image/png;base64,iVBOR") for address in collector.addresses)
    assert "<script" not in page
    assert not re.search(r"url\(|@import|http", page)


def test_page_shows_every_figure_picture_and_alarm(measured):
    report, findings = measured
    text = " ".join(" ".join(read(page_of(report, findings)).text).split())
    for section in findings:
        assert section.title in text
        for figure in section.figures:
            assert str(figure) in text
            assert figure.protocol in text
        for picture in section.pictures:
            assert picture.caption in text
    assert report.alarms
    for alarm in report.alarms:
        assert alarm in text


def test_names_from_outside_are_escaped(measured):
    report, findings = measured
    page = page_of(report.model_copy(update={"subject": "<script>alert(1)</script>"}), findings)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_page_without_a_judge_says_how_to_make_one(bench_of):
    report, findings = measure(bench_of(latent_size=2), REQUEST)
    assert report.judge is None
    assert "vae-train judge --data DIR --out DIR" in page_of(report, findings)
