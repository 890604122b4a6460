"""On the bench of the tests: untrained models, a hundred digits, a judge that learned a little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config.model_section import MLPTrunk, ModelConfig
from training.config.sections import DataConfig, EvaluationConfig
from training.data import ImageData
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.subject import Subject, SubjectPrior
from training.judge.classifier import Judge
from training.judge.fitting import fit_judge
from training.models import LatentImageModel, build_model
from training.plots.grids import sample_png

#: One black pixel.
PIXEL = sample_png(torch.zeros(1, 1, 1, 1), scale=1)


@pytest.fixture(autouse=True)
def charts_are_a_pixel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than measuring: charts are drawn where a test asks for `charts`."""
    if "charts" not in request.fixturenames:
        monkeypatch.setattr("training.plots.charts._png", lambda figure: PIXEL)


@pytest.fixture
def charts() -> None:
    """Asks for charts as they are."""


@pytest.fixture(scope="session")
def judge(digits: ImageData) -> Judge:
    """One pass over a few hundred digits: it need not read well to be asked."""
    return fit_judge(digits, epochs=1)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LatentImageModel]:
    """An untrained model whose z matters; keyword arguments are those of `ModelConfig`."""

    def make(**changes: Any) -> LatentImageModel:
        settings = {
            "latent_size": 3,
            "trunk": MLPTrunk(encoder_hidden=(16,), decoder_hidden=(16,)),
            **changes,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(ModelConfig(**settings), (1, 28, 28)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(3.0)
        return model

    return make


@pytest.fixture(scope="session")
def subject_of(digits: ImageData) -> Callable[..., Subject]:
    """A model as a subject."""

    def make(
        model: LatentImageModel,
        *,
        label: str = "runs/x",
        trained_on: str | None = None,
        prior: SubjectPrior | None = None,
    ) -> Subject:
        return Subject(
            label=label,
            measured_through="torch, in a test",
            model=model,
            settings=EvaluationConfig(importance_samples=2, importance_images=5),
            data=DataConfig(),
            trained_on=digits.train.fingerprint if trained_on is None else trained_on,
            trained_on_text="digits",
            prior=prior,
            run=None,
            folder=Path("reports"),
        )

    return make


@pytest.fixture(scope="session")
def bench_of(
    digits: ImageData, make_model: Callable[..., LatentImageModel], subject_of: Callable[..., Subject]
) -> Callable[..., EvaluationContext]:
    """A workbench with a model, or one made of the keyword arguments."""

    def make(
        model: LatentImageModel | None = None,
        *,
        data: ImageData = digits,
        judge: Judge | None = None,
        seed: int = 0,
        **changes: Any,
    ) -> EvaluationContext:
        subject = subject_of(make_model(**changes) if model is None else model)
        return EvaluationContext(subject=subject, data=data, seed=seed, judge=judge)

    return make
