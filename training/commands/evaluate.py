"""`vae-train evaluate`: measure a run or a published version, and write a report with pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_store import open_store
from training.commands.progress import progress_of_evaluation, say, warn
from training.commands.tables import print_evaluation, print_report
from training.compute.allocator import keep_freed_memory
from training.compute.threads import use_allowed_threads
from training.errors import ConfigError
from training.evaluation.evaluate import Wanted, make_report
from training.evaluation.figures import evaluate_run
from training.evaluation.report.section_results import Report
from training.evaluation.verdict import reason_against_publishing
from training.runs.run_directory import RunDirectory


def run(arguments: argparse.Namespace) -> int:
    """Measure, write the figures and the report, print the tables."""
    use_allowed_threads()
    keep_freed_memory()
    if arguments.figures_only:
        return _figures_only(arguments)
    with progress_of_evaluation() as progress:
        report = make_report(
            arguments.model,
            wanted(arguments),
            second_data=arguments.second_data,
            second_model=arguments.second_model,
            timed_with=arguments.timed_with,
            out=arguments.out,
            progress=progress,
            tell=warn,
        )
    print_report(report)
    _advise(Path(arguments.model), report)
    return 0


def _advise(run: Path, report: Report) -> None:
    """The last line, if the model has a grave fault: what to change, in place of the next command."""
    is_run = run.is_dir()
    values = report.evaluation.values
    if (baseline := report.figure("nll_of_mean_image")) is not None:
        values[baseline.name] = baseline.value
    reason = reason_against_publishing(values, steps=RunDirectory(run).steps() if is_run else None)
    if reason:
        say(f"\nnot worth {'publishing' if is_run else 'serving'}: {reason}")


def _figures_only(arguments: argparse.Namespace) -> int:
    """Measure only the figures that an export writes into the manifest."""
    for option in ("judge", "second_data", "second_model", "timed_with", "out"):
        if getattr(arguments, option) is not None:
            flag = f"--{option.replace('_', '-')}"
            raise ConfigError(
                f"--figures-only: expected no {flag} with it, because only a report needs that."
            )
    with progress_of_evaluation() as progress:
        evaluation = evaluate_run(
            Path(arguments.model),
            arguments.data,
            importance_samples=arguments.importance_samples,
            importance_images=arguments.importance_images,
            seed=arguments.seed,
            progress=progress,
            tell=warn,
        )
    print_evaluation(evaluation)
    warn(f"wrote {arguments.model}/evaluation.json, and evaluation.md with the protocol of each figure")
    return 0


def wanted(arguments: argparse.Namespace) -> Wanted:
    """The settings that `evaluate` and `compare` share."""
    return Wanted(
        store=open_store(arguments.store, tell=warn),
        data_dir=arguments.data,
        judge_dir=arguments.judge,
        importance_samples=arguments.importance_samples,
        importance_images=arguments.importance_images,
        seed=arguments.seed,
    )
