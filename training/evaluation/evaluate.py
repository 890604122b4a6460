"""The work of `vae-train evaluate`, `judge` and `compare`: open, load, measure, write.

Knows files, subjects and reports. Knows no terminal: messages go to the callers, who decide where they
appear.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from model_store import ModelStore
from training.config.sections import DataConfig
from training.data import ImageData, ImageSet, is_of_pictures, load_images
from training.errors import ConfigError, DataError, RunDirectoryError
from training.evaluation.evaluation_context import EvaluationContext
from training.evaluation.figures import write_evaluation
from training.evaluation.report.assemble import Request, measure
from training.evaluation.report.comparison import (
    Comparison,
    Measured,
    comparison_markdown,
    comparison_page,
)
from training.evaluation.report.cost import Timed
from training.evaluation.report.page import page_of
from training.evaluation.report.section_results import Report
from training.evaluation.subject import Subject, open_subject
from training.judge.classifier import Judge, load_judge, save_judge
from training.judge.fitting import fit_judge
from training.objectives.progress import Progress
from training.randomness.seeds import MAX_TORCH_SEED, check_seed
from training.runs.run_directory import write_text
from training.runs.writing import writing

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """The options of the user; None is the value of the model's recipe."""

    store: ModelStore
    data_dir: Path | None
    judge_dir: Path | None = None
    importance_samples: int | None = None
    importance_images: int | None = None
    seed: int | None = None


def make_report(
    name: str,
    wanted: Wanted,
    *,
    second_data: Path | None = None,
    second_model: str | None = None,
    timed_with: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    tell: Tell = lambda _: None,
) -> Report:
    """Measure a run or a published version and write `report.json`, `report.md` and `report.html`.

    A run's directory also receives `evaluation.json` and `evaluation.md`, from which an export takes its
    figures.

    Args:
        name: A run directory, or `name`, `name@3`, `name@alias` of a published version.
        wanted: Data, judge and settings.
        second_data: Another data set, to be distinguished from the model's own; any `data_dir`.
        second_model: Run or version of that other data, for the other direction.
        timed_with: A published version for a comparison of the times of both.
        out: Output directory; left out, a run's own directory, or `reports/NAME-VERSION`.
        progress: Called after each batch.
        tell: Called with a line for people at each step of a download.

    Raises:
        TrainingError, StoreError: An input is unusable; nothing was written.
    """
    if second_model is not None and second_data is None:
        raise ConfigError("--second-model: expected --second-data with it, the images of that model.")
    _check_out(out)
    subject = _open(name, wanted)
    second_subject = None if second_model is None else _open(second_model, wanted)
    timed = None if timed_with is None else _timed(subject, timed_with, wanted)
    data = _images(subject, wanted, tell)
    second = None
    if second_data is not None:
        second = _second_images(second_data, second_subject or subject, data.test, tell)
    progress = _after(partial(tell, f"measuring {subject.label} on {_count(data)}"), progress)
    report, findings = _measure(
        subject, data, wanted, progress, second=second, second_subject=second_subject, timed=timed
    )
    folder = out or subject.folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if subject.run is not None:
        write_evaluation(subject.run, report.evaluation)
    write_text(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    write_text(folder / "report.md", report.to_markdown())
    write_text(folder / "report.html", page_of(report, findings))
    tell(f"wrote {folder}/report.html, report.json, and report.md with the protocol of each figure")
    return report


def make_comparison(
    names: Sequence[str],
    wanted: Wanted,
    *,
    out: Path,
    progress: Progress | None = None,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Measure several runs or versions on the same images and write `compare.json`, `.md` and `.html`.

    Raises:
        ConfigError: Fewer than two models.
        DataError: A model expects images of another shape.
        TrainingError, StoreError: An input is unusable; nothing was written.
    """
    if len(set(names)) < 2:
        raise ConfigError(f"expected two models or more to compare, got {', '.join(sorted(set(names)))}.")
    _check_out(out)
    subjects = [_open(name, wanted) for name in names]
    data = _images(subjects[0], wanted, tell)
    for subject in subjects:
        if subject.model.image_shape != data.image_shape:
            raise DataError(
                f"{subject.label}: expected a model of images shaped {data.image_shape}, as {data.name} has, "
                "got "
                f"one of {subject.model.image_shape}. Compare models of one data set."
            )
    measured: list[Measured] = []
    for subject in subjects:
        tell(f"measuring {subject.label} on {_count(data)}")
        measured.append(_measure(subject, data, wanted, progress))
    comparison = Comparison(reports=tuple(report for report, _ in measured))
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_text(out / "compare.json", comparison.model_dump_json(indent=2) + "\n")
    write_text(out / "compare.md", comparison_markdown(comparison.reports))
    write_text(out / "compare.html", comparison_page(measured))
    tell(f"wrote {out}/compare.html, compare.json and compare.md")
    return comparison


def make_judge(
    out: Path,
    *,
    data_dir: Path | None,
    seed: int = 0,
    epochs: int,
    progress: Progress | None = None,
    tell: Tell = lambda _: None,
) -> None:
    """Fit a judge and write it into a new or empty directory.

    Raises:
        RunDirectoryError: The directory is in use.
        ConfigError: A number is out of range.
        DataError: The images are unusable, or have no labels.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"{out}: expected an empty or new directory, got one in use. Choose another --out."
        )
    if not 1 <= epochs <= 1000:
        raise ConfigError(f"--epochs: expected 1 to 1,000, got {epochs:,}.")
    check_seed(seed, most=MAX_TORCH_SEED)
    data = load_images(data_dir, DataConfig(), tell=tell)
    tell(f"fitting a judge on {len(data.train):,} images of {data.train.name}, {epochs} epochs")
    judge = fit_judge(data, seed=seed, epochs=epochs, progress=progress, tell=tell)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    save_judge(out, judge)
    tell(f"the judge classifies {100.0 * judge.facts.accuracy:.2f} % correctly ({judge.facts.protocol})")
    tell(_use_of(judge, data, out))


def _use_of(judge: Judge, data: ImageData, out: Path) -> str:
    """The command that uses the judge, unless its verdicts are mostly guesses."""
    labels = data.test.labels
    assert labels is not None
    commonest = (labels == labels.mode().values).double().mean().item()
    if judge.facts.accuracy >= (1.0 + commonest) / 2.0:
        return f"use it: vae-train evaluate RUN --judge {shlex.quote(str(out))}"
    return (
        f"not worth using: the most common label alone is right for {100.0 * commonest:.2f} %, so that its "
        "verdicts are mostly guesses. Add images, raise --epochs, and fit it into another --out"
    )


def _check_out(out: Path | None) -> None:
    """Check before the measurement, which takes minutes, whether the result can be written."""
    if out is not None and out.exists() and not out.is_dir():
        raise RunDirectoryError(
            f"{out}: expected a directory or a new name, got a file. Choose another --out."
        )


def _open(name: str, wanted: Wanted) -> Subject:
    return open_subject(name, store=wanted.store, threads=torch.get_num_threads())


def _images(subject: Subject, wanted: Wanted, tell: Tell) -> ImageData:
    """The user's images; without a name, the digits, if the model was trained on them."""
    data = load_images(wanted.data_dir, subject.data, tell=tell)
    if wanted.data_dir is None and data.train.fingerprint != subject.trained_on:
        raise ConfigError(
            f"--data: expected the training images of {subject.label} ({subject.trained_on_text}), got "
            f"nothing, which would be {data.name}. Name them."
        )
    return data


def _second_images(path: Path, subject: Subject, beside: ImageSet, tell: Tell) -> ImageSet:
    """Test images of another data set; image files are cropped and scaled like those of `subject`."""
    config = subject.data if is_of_pictures(path) else DataConfig()
    images = load_images(path, config, tell=tell).test
    # Two unknown folders of IDX files have the same name.
    return images if images.name != beside.name else replace(images, name=f"{images.name} in {path}")


def _measure(
    subject: Subject,
    data: ImageData,
    wanted: Wanted,
    progress: Progress | None,
    *,
    second: ImageSet | None = None,
    second_subject: Subject | None = None,
    timed: Timed | None = None,
) -> Measured:
    settings = subject.settings
    bench = EvaluationContext(
        subject=subject,
        data=data,
        seed=_or(wanted.seed, settings.seed),
        judge=None if wanted.judge_dir is None else load_judge(wanted.judge_dir),
        progress=progress,
    )
    request = Request(
        importance_samples=_or(wanted.importance_samples, settings.importance_samples),
        importance_images=_or(wanted.importance_images, settings.importance_images),
        second=second,
        second_subject=second_subject,
        timed=timed,
    )
    return measure(bench, request)


def _timed(subject: Subject, reference: str, wanted: Wanted) -> Timed:
    """Both versions anew, with runtimes of one thread."""
    if subject.run is not None:
        raise ConfigError(
            f"--timed-with: expected a published version to time, got the run {subject.label}, which has no "
            "graphs yet. Export it first, into a store of its own with --store DIR if need be."
        )
    if Path(reference).is_dir():
        raise ConfigError(f"--timed-with: expected a published version, got the directory {reference}.")
    version, other = (open_subject(name, store=wanted.store) for name in (subject.label, reference))
    return Timed(version, other)


def _after(first: Callable[[], None], progress: Progress | None) -> Progress:
    """The same progress after a first call: when all checks have passed, and the work has begun."""
    begun = False

    def report(what: str, done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            begun = True
            first()
        if progress is not None:
            progress(what, done, total)

    return report


def _count(data: ImageData) -> str:
    return f"{len(data.test):,} images of {data.test.name}"


def _or(asked: int | None, stated: int) -> int:
    return stated if asked is None else asked
