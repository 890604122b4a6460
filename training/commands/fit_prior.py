"""`vae-train fit-prior`: fit a prior to a run, or to a published version, which yields its next version."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from model_store import open_store
from training.commands.progress import progress_of_evaluation, say, warn
from training.compute.threads import allowed_threads
from training.errors import ConfigError
from training.evaluation.figures import format_value, read_evaluation
from training.evaluation.verdict import reason_against_publishing
from training.publishing.export import check_aliases, how_to_serve
from training.publishing.fit_prior import PriorRequest, fit_prior_of_run, fit_prior_of_version
from training.runs.run_directory import RunDirectory, load_run


def run(arguments: argparse.Namespace) -> int:
    """Fit, report the quality, and print the next command."""
    threads = allowed_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    # scikit-learn too: its libraries would start one thread for each core of the host.
    with threadpool_limits(threads), progress_of_evaluation() as progress:
        request = PriorRequest(
            data_dir=arguments.data,
            seed=arguments.seed,
            with_labels=arguments.labels,
            judge_dir=arguments.judge,
            tell=say,
            progress=progress,
        )
        if _is_run(arguments.model):
            return _of_run(arguments, request)
        return _of_version(arguments, request)


def _is_run(text: str) -> bool:
    """A run directory, recognised by its content, or any text in the form of a path."""
    return (Path(text) / "config.json").is_file() or "/" in text or text in (".", "..")


def _of_run(arguments: argparse.Namespace, request: PriorRequest) -> int:
    if arguments.alias is not None or arguments.store is not None:
        raise ConfigError(
            "--alias, --store: expected only with a published version such as mnist@1, got them with a run "
            "directory. Leave them out here, and pass them to `vae-train export`, which publishes the "
            "prior."
        )
    fit = fit_prior_of_run(Path(arguments.model), request)
    for metric in fit.entry.metrics:
        say(f"  {metric.name:<27} {format_value(metric):>10}  {metric.unit}")
    wrote = f"wrote {arguments.model}/prior.npz"
    if reason := _reason_against(Path(arguments.model)):
        say(f"{wrote}; not worth publishing: {reason}")
    else:
        say(f"{wrote}; publish it: vae-train export {shlex.quote(arguments.model)} --name NAME")
    return 0


def _reason_against(run_dir: Path) -> str:
    """The fault that the run's own figures show, if it was evaluated."""
    figures = read_evaluation(run_dir)
    if figures is None:
        return ""
    shape, steps = load_run(run_dir).model.image_shape, RunDirectory(run_dir).steps()
    return reason_against_publishing(figures.values, image_shape=shape, steps=steps)


def _of_version(arguments: argparse.Namespace, request: PriorRequest) -> int:
    aliases = [arguments.alias] if arguments.alias is not None else []
    check_aliases(aliases)
    store = open_store(arguments.store, tell=warn)
    version = fit_prior_of_version(arguments.model, request, store=store, aliases=aliases)
    fitted = store.manifest(version).fitted_prior
    assert fitted is not None
    for metric in fitted.metrics:
        say(f"  {metric.name:<27} {format_value(metric):>10}  {metric.unit}")
    moved = ", ".join(sorted({*aliases, "latest"}))
    say(f"published {version} in {store.root} ({moved})")
    say(how_to_serve(version, store))
    return 0
