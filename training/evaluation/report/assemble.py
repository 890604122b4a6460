"""From a model, images and a request to a report: the sections and their order.

Knows the sections. Knows nothing of their measurements, or of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time

import torch

from training.data import ImageSet
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.report.cost import Timed, find_cost
from training.evaluation.report.detection import check_second, find_detection
from training.evaluation.report.interpolation import find_interpolation
from training.evaluation.report.latents import find_latents
from training.evaluation.report.likelihood import find_likelihood
from training.evaluation.report.reconstruction import find_reconstruction
from training.evaluation.report.samples import find_samples
from training.evaluation.report.section_results import Report, SectionRecord, SectionResult
from training.evaluation.report.warnings import data_alarms
from training.evaluation.subject import Subject


@dataclass(frozen=True)
class Request:
    """Options that may differ between two reports on one model."""

    importance_samples: int
    importance_images: int | None
    """None, or a number above their count, means all."""
    second: ImageSet | None = None
    """Test images of another data set, to be distinguished from the model's own."""
    second_subject: Subject | None = None
    """A model of that other data, for the other direction."""
    timed: Timed | None = None
    """The version of the report and another for a comparison of their times, each of one thread."""


def measure(bench: EvaluationContext, request: Request) -> tuple[Report, tuple[SectionResult, ...]]:
    """Measure every section.

    Returns:
        The report as data, and the findings with their plots for the page.

    Raises:
        ConfigError: A size is out of range.
        DataError: Images, model and judge do not match.
        NonFiniteTraining: A figure is not finite: the weights are broken.
    """
    started, cpu_started = monotonic(), process_time()
    if bench.judge is not None:
        bench.judge.check_shape(bench.model.image_shape, of=bench.subject.label)
        # A judge of other images is useful here: its figures compare with those of the same judge.
        facts, train = bench.judge.facts, bench.data.train
        if facts.trained_on == train.fingerprint and facts.trained_on_labels and train.labels is not None:
            bench.judge.check_labels(train)
    check_second(bench, request.second, request.second_subject)
    evaluation, likelihood = find_likelihood(
        bench,
        importance_samples=request.importance_samples,
        importance_images=request.importance_images,
    )
    findings = (
        likelihood,
        find_reconstruction(bench),
        *find_samples(bench),
        find_latents(bench),
        find_interpolation(bench),
        find_detection(bench, second=request.second, second_subject=request.second_subject),
        *find_cost(bench.subject, request.timed),
    )
    report = Report(
        subject=bench.subject.label,
        kind=bench.model.kind,
        measured_through=bench.subject.measured_through,
        data=f"{bench.data.name}: {len(bench.data.train):,} training and {len(bench.data.test):,} test "
        "images",
        seed=bench.seed,
        judge=None if bench.judge is None else str(bench.judge),
        threads=torch.get_num_threads(),
        took_s=round(monotonic() - started, 1),
        cpu_s=round(process_time() - cpu_started, 1),
        evaluation=evaluation,
        sections=_records(findings),
        alarms=(*data_alarms(bench), *(alarm for section in findings for alarm in section.alarms)),
    )
    return report, findings


def _records(findings: Sequence[SectionResult]) -> dict[str, SectionRecord]:
    return {
        section.key: SectionRecord(title=section.title, figures=section.figures, series=section.series)
        for section in findings
    }
