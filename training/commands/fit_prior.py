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
from training.objectives.posterior_collapse import STEPS_TO_LEARN
from training.publishing.export import check_aliases, serve_command
from training.publishing.fit_prior import PriorRequest, fit_prior_of_run, fit_prior_of_version
from training.runs.run_directory import RunDirectory


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
    run, figures = shlex.quote(arguments.model), read_evaluation(Path(arguments.model))
    learned = RunDirectory(Path(arguments.model)).steps() >= STEPS_TO_LEARN
    if figures is not None and figures.collapsed and learned:
        say(
            f"wrote {arguments.model}/prior.npz; not worth publishing: the latents carry no information "
            "about the images"
        )
    else:
        say(f"wrote {arguments.model}/prior.npz; publish it: vae-train export {run} --name NAME")
    return 0


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
    say(f"serve it: {serve_command(version, store)}")
    return 0
