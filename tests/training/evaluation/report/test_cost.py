"""The cost of a version: its bytes, and its time next to another's in one process."""

from __future__ import annotations

import pytest
from tiny_learned import TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelStore
from training.evaluation.report.cost import Timed, find_cost
from training.evaluation.subject import open_subject


@pytest.fixture
def store(tmp_path) -> ModelStore:
    """Version 1 with N(0, I), 2 with a fitted prior, 3 with a learned one."""
    store, tiny = ModelStore(tmp_path), TinyModel.make(image_shape=(1, 8, 8), latent_size=3)
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny, fitted=fitted_prior(3))
    publish_tiny(store, model=tiny, learned=TinyLearnedPrior(3))
    return store


def figures_of(store: ModelStore, version: str, reference: str | None = None) -> dict[str, float]:
    subject = open_subject(version, store=store)
    timed = None if reference is None else Timed(subject, open_subject(reference, store=store))
    (section,) = find_cost(subject, timed)
    return {figure.name: figure.value for figure in section.figures}


@pytest.mark.parametrize(
    ("version", "files"),
    [
        ("tiny@1", ("encoder.onnx", "decoder.onnx")),
        ("tiny@2", ("encoder.onnx", "decoder.onnx", "prior.npz")),
        (
            "tiny@3",
            ("encoder.onnx", "decoder.onnx", "prior.npz", "prior_sampler.onnx", "prior_density.onnx"),
        ),
    ],
)
def test_size_is_that_of_graphs_and_prior(version, files, store):
    folder = store.root / version.replace("@", "/")
    expected = sum((folder / name).stat().st_size for name in files) / 1e6
    assert figures_of(store, version) == {"graphs_and_prior": pytest.approx(expected)}


def test_times_are_those_of_both_in_turns(store, monkeypatch):
    """By a clock that advances with the work: a sample of version 3 costs twice one of version 1."""
    now = 0.0

    def work(seconds):
        def run(self, z):
            nonlocal now
            now += seconds
            return original(self, z)

        return run

    version, reference = (open_subject(f"tiny@{number}", store=store) for number in (3, 1))
    for subject, seconds in ((version, 0.064), (reference, 0.032)):
        original = type(subject.model).decode
        run = work(seconds)
        monkeypatch.setattr(subject.model, "decode", run.__get__(subject.model))
    monkeypatch.setattr("training.evaluation.report.cost.process_time", lambda: now)
    (section,) = find_cost(version, Timed(version, reference))
    figures = {figure.name: figure for figure in section.figures}
    for name in ("decode", "sample"):
        assert figures[f"{name}_time"].value == pytest.approx(1.0)
        assert figures[f"{name}_time_ratio"].value == pytest.approx(2.0)
        assert figures[f"{name}_time_ratio"].unit == "times tiny@1"


@pytest.mark.parametrize("version", ["tiny@1", "tiny@2", "tiny@3"])
def test_every_kind_of_prior_is_timed(version, store):
    figures = figures_of(store, version, "tiny@1")
    assert all(value > 0.0 for value in figures.values())
    assert {"decode_time_ratio", "sample_time_ratio"} <= set(figures)


def test_a_run_has_no_such_section(subject_of, make_model):
    assert find_cost(subject_of(make_model()), None) == ()
