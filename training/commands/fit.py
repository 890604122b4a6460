"""`vae-train fit`: recipe and images in, run directory and figures out.

Knows the messages for the person at the terminal. The work is in `training.fitting.fit` and
`training.evaluation.figures`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch

from model_store import ModelReference, ModelStore, open_store
from model_store.echo import listed
from training.commands.progress import is_terminal, progress_of_evaluation, say, warn, width_of
from training.commands.recipe_parts import Part, from_nothing, parts_of
from training.compute.allocator import keep_freed_memory
from training.compute.child_processes import end_with_the_starter
from training.compute.processes import Processes, find_processes, was_restarted
from training.compute.threads import use_allowed_threads
from training.config.reading import load_recipe, with_overrides
from training.config.recipe import RunConfig
from training.config.sections import Expectation
from training.data import ImageData, count_fitting_parts, load_images
from training.errors import ConfigError, RunDirectoryError, TrainingInterrupted
from training.evaluation.figures import Evaluation, evaluate, format_value, write_evaluation
from training.evaluation.verdict import reason_against_publishing
from training.fitting.batches import steps_per_epoch
from training.fitting.console import Console
from training.fitting.fit import fit, join
from training.fitting.resuming import changes
from training.fitting.trainer import resolve_precision
from training.models import build_model, latents_in_words
from training.runs.run_directory import RunDirectory

#: 200 images in batches of 64 make 120 steps in 60 epochs of one pass, and end above the error of PCA.
_FEW_STEPS = 1_000
#: Keys, or sections, whose values change neither the time of a run nor its figures by much.
_CHANGES_NOTHING = (
    "trainer.seed",
    "trainer.checkpoint_minutes",
    "trainer.pictures_every_epochs",
    "evaluation.",
)


def run(arguments: argparse.Namespace) -> int:
    """Fit, evaluate, and print the next command."""
    started = time.monotonic()
    out: Path = arguments.out
    processes = find_processes(
        devices=arguments.devices, nodes=arguments.nodes, accelerator=arguments.accelerator
    )
    keep_freed_memory()
    if not processes.leads:
        return _assist(arguments, processes)
    store = open_store(arguments.store, tell=warn)
    resume = _resumes(arguments)
    config = _configuration(arguments, store, resume=resume)
    expected = _expected(config, _unchanged(arguments))
    parts = parts_of(config, RunDirectory(out))
    if len(parts) > 1 and processes.nodes > 1:
        raise ConfigError(
            "--from-nothing: expected one machine, because each part is a run of its own. Train each recipe "
            "with a command of its own, and start from the version of the one before."
        )
    for part in parts[:-1]:
        if not part.is_done:
            say(f"first by recipe {part.config.name}, in {part.directory.root}")
            _fit_part(arguments, part, processes, store)
    last = Part(config, RunDirectory(out), resume=resume)
    evaluation, data = _fit(arguments, last, processes, store, expected=expected)
    minutes = (time.monotonic() - started) / 60.0
    say(f"done in {minutes:.1f} minutes; {out}/evaluation.md contains the protocol of each figure")
    say(_next_step(evaluation, out, config, data, steps=RunDirectory(out).steps()))
    return 0


def _fit_part(arguments: argparse.Namespace, part: Part, processes: Processes, store: ModelStore) -> None:
    try:
        _fit(arguments, part, processes, store, expected=_expected(part.config, part.config))
    except TrainingInterrupted as error:
        raise TrainingInterrupted(
            f"{error}\nThat is a part of {arguments.out}. To go on with all of it, repeat the command with "
            "--resume=auto."
        ) from None


def _fit(
    arguments: argparse.Namespace, part: Part, processes: Processes, store: ModelStore, *, expected: str
) -> tuple[Evaluation, ImageData]:
    """Fit one recipe, and evaluate it."""
    config, out, resume = part.config, part.directory.root, part.resume
    use_allowed_threads(processes=processes.devices)  # the evaluation of a part before had all of them
    data = load_images(arguments.data, config.data, tell=say)
    with progress_of_evaluation() as progress:
        fitted = fit(
            config,
            data,
            out,
            resume=resume,
            console=Console(
                say=say,
                progress=progress,
                width=width_of(sys.stdout) if is_terminal(sys.stdout) else None,
            ),
            before_training=lambda: say(
                _plan(config, data, out, expected=expected, resume=resume, processes=processes)
            ),
            processes=processes,
            helper=_helper(arguments, processes, out),
            store=store,
            on_collapse=arguments.on_collapse,
        )
    if processes.devices > 1:
        use_allowed_threads()  # the other processes have ended

    settings = config.evaluation
    say(_what_is_measured(config, len(data.test)))
    try:
        with progress_of_evaluation() as progress:
            evaluation = evaluate(
                fitted.model,
                data.test,
                train=data.train,
                importance_samples=settings.importance_samples,
                importance_images=settings.importance_images,
                seed=settings.seed,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise TrainingInterrupted(
            f"{out}: stopped during the evaluation; training is complete and its weights are kept. Measure "
            f"them with: vae-train evaluate {shlex.quote(str(out))}{_data(arguments)}"
        ) from None
    write_evaluation(out, evaluation)
    say(_report(evaluation))
    return evaluation, data


def _data(arguments: argparse.Namespace) -> str:
    """The option `--data` as the user wrote it, for a printed command."""
    return "" if arguments.data is None else f" --data {shlex.quote(str(arguments.data))}"


def _assist(arguments: argparse.Namespace, processes: Processes) -> int:
    """Train as one of several processes; the first one prints the configuration and the progress."""
    use_allowed_threads(processes=processes.devices)
    end_with_the_starter()
    say(f"process {processes.rank} of {processes.count}, counted from 0; the first one prints the progress")
    join(
        lambda config: load_images(arguments.data, config),
        arguments.out,
        processes=processes,
        helper=_helper(arguments, processes, arguments.out),
    )
    return 0


def _helper(arguments: argparse.Namespace, processes: Processes, out: Path) -> list[str]:
    """Python's arguments for a further process; it receives its configuration from the first."""
    command = ["-m", "training.cli", "fit", "--out", str(out)]
    command += ["--devices", str(processes.devices), "--nodes", str(processes.nodes)]
    command += ["--accelerator", processes.accelerator]
    return command if arguments.data is None else [*command, "--data", str(arguments.data)]


def _resumes(arguments: argparse.Namespace) -> bool:
    """Whether to continue the run in --out; `--resume=auto` does if there is one."""
    out: Path = arguments.out
    has_begun = RunDirectory(out).has_begun
    first_part = RunDirectory(out).start
    if first_part.exists() and not has_begun:
        if arguments.resume is None:
            raise RunDirectoryError(
                f"{out}: expected an empty or new directory, got one with the first part of a run. Continue "
                "it with --resume, or choose another --out."
            )
        return False
    if arguments.resume != "auto":
        return arguments.resume is not None
    if was_restarted() and not has_begun:
        warn(
            f"note: torchrun has restarted this process, and {out} contains no run: it begins anew. The "
            "machines must share the directory of --out, because any of them may become the first."
        )
    return has_begun


def _configuration(arguments: argparse.Namespace, store: ModelStore, *, resume: bool) -> RunConfig:
    """The recipe with its overrides; for a resumed run without `--recipe`, the run's own recipe."""
    if arguments.recipe is None:
        if not resume:
            raise ConfigError("--recipe: expected a recipe name or a .toml file, got nothing.")
        if arguments.seed is not None or arguments.start_from is not None or arguments.from_nothing:
            raise ConfigError(
                "--seed, --start-from, --from-nothing: expected none of them with --resume and no --recipe; "
                "a resumed run keeps its initial weights and its noise. Leave them out, or start a new run "
                "in another --out."
            )
        directory = RunDirectory(arguments.out)
        config = directory.read_config()
        if not arguments.overrides:
            return config
        return with_overrides(config, arguments.overrides, where=str(directory.config))
    overrides = list(arguments.overrides)
    if arguments.seed is not None:
        overrides.append(f"trainer.seed={arguments.seed}")
    if arguments.start_from is not None:
        overrides.append(f"trainer.start_from='{_start(arguments, store, resume=resume)}'")
    if arguments.from_nothing:
        return from_nothing(arguments.recipe, overrides, start_from=arguments.start_from)
    return load_recipe(arguments.recipe, overrides=overrides)


def _start(arguments: argparse.Namespace, store: ModelStore, *, resume: bool) -> str:
    """The version to start from, by its number, because an alias may point to another version tomorrow.

    A resumed run keeps its first version, even if the alias has moved.
    """
    directory = RunDirectory(arguments.out)
    if resume and directory.config.is_file():
        begun = directory.read_config().trainer.start_from
        asked = ModelReference.parse(arguments.start_from)
        if arguments.start_from == begun or (asked.version is None and begun.startswith(f"{asked.name}@")):
            return begun
    return str(store.resolve(arguments.start_from))


def _plan(
    config: RunConfig, data: ImageData, out: Path, *, expected: str, resume: bool, processes: Processes
) -> str:
    """Print the configuration, the expected time and figures, and the files to watch."""
    trainer = config.trainer
    model = build_model(config.model, data.image_shape)
    weights = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    images, validated_on = count_fitting_parts(
        data, validation_size=config.data.validation_size, seed=trainer.seed
    )
    how = "held back" if data.validation is None else "to validate on"
    of_one_pass = images // trainer.batch_size
    steps = steps_per_epoch(images, batch_size=trainer.batch_size, at_least=trainer.min_steps_per_epoch)
    precision = resolve_precision(trainer, processes.accelerator)
    pictures = "samples.png, curves.png" if config.model.kind == "vae" else "curves.png"
    return "\n".join(
        [
            f"recipe {config.name}: {config.description}",
            f"  data      {data.name}, {images:,} images to train on, {validated_on:,} {how}, "
            f"{len(data.test):,} for the test, shape {data.image_shape}",
            *(f"  note      {note}" for note in data.notes),
            f"  model     {config.model.kind}, {config.model.trunk.type}, "
            f"{latents_in_words(model.latent_shape)}, "
            f"{config.model.likelihood.name}; {weights[0]:,} weights in the encoder, "
            f"{weights[1]:,} in the decoder",
            *_where_it_starts(config, out),
            f"  training  {trainer.epochs} epochs of {steps} steps{_passes(steps, of_one_pass)}, "
            f"seed {trainer.seed}, {precision}, {_computes(processes)}",
            *_few_steps(steps, trainer.epochs),
            f"  expect    {expected}",
            f"  watch     {out}/reconstructions.png, {pictures}, log.csv; "
            f"tensorboard --logdir {shlex.quote(f'{out}/tensorboard')}",
            f"  stop      Ctrl-C saves; {'resuming from' if resume else '--resume continues from'} "
            f"{RunDirectory(out).checkpoint}",
        ]
    )


def _where_it_starts(config: RunConfig, out: Path) -> list[str]:
    if config.first_part:
        return [f"  start     the weights of {RunDirectory(out).start}, by recipe {config.first_part}"]
    return [f"  start     the weights of {config.trainer.start_from}"] if config.trainer.start_from else []


def _passes(steps: int, of_one_pass: int) -> str:
    """How often an epoch goes over the images, where that is more than once."""
    return f" ({steps / of_one_pass:.3g} passes over the images)" if steps > of_one_pass else ""


def _few_steps(steps: int, epochs: int) -> list[str]:
    """Advice for a run that ends before the model has learned much."""
    if steps * epochs >= _FEW_STEPS:
        return []
    enough = -(-_FEW_STEPS // steps)
    return [
        f"  note      {steps * epochs:,} steps are few: raise trainer.epochs to {enough:,}, or lower "
        "trainer.batch_size"
    ]


def _computes(processes: Processes) -> str:
    threads = f"{torch.get_num_threads()} threads"
    what = threads if processes.accelerator == "cpu" else f"a GPU and {threads}"
    return what if processes.count == 1 else f"{processes.count} processes of {what}"


def _unchanged(arguments: argparse.Namespace) -> RunConfig:
    """The recipe without the options of this command; for `--resume` without `--recipe`, the run's own."""
    if arguments.recipe is None:
        return RunDirectory(arguments.out).read_config()
    return load_recipe(arguments.recipe)


def _expected(config: RunConfig, unchanged: RunConfig) -> str:
    """Time and figures to expect; after a change of epochs only the time is known."""
    expect = unchanged.expect
    if expect is None:
        return "unknown for this recipe; the line of each epoch contains the time left"
    keys = [
        change.key for change in changes(unchanged, config) if not change.key.startswith(_CHANGES_NOTHING)
    ]
    of_the_recipe = f"{_figures(expect)} on the test images ({expect.measured_on})"
    if not keys:
        return f"about {expect.minutes:g} minutes and {of_the_recipe}"
    if keys == ["trainer.epochs"]:
        epochs, before = config.trainer.epochs, unchanged.trainer.epochs
        return (
            f"about {expect.minutes * epochs / before:.2g} minutes for {epochs} epoch{'s' * (epochs > 1)}; "
            f"with the {before} of the recipe about {expect.minutes:g} minutes and {of_the_recipe}"
        )
    return (
        f"unknown with another {listed(keys, most=3)}; the recipe without changes takes about "
        f"{expect.minutes:g} minutes and reaches {of_the_recipe}"
    )


def _figures(expect: Expectation) -> str:
    return ", ".join(
        f"{name} {value:g} nats"
        for name, value in (("-ELBO", expect.negative_elbo), ("reconstruction", expect.reconstruction_nll))
        if value is not None
    )


def _what_is_measured(config: RunConfig, test_images: int) -> str:
    if config.model.kind == "ae":
        return f"evaluating on {test_images:,} test images"
    settings = config.evaluation
    return (
        f"evaluating on {test_images:,} test images, then K = {settings.importance_samples} importance "
        f"samples for {min(settings.importance_images, test_images):,} of them"
    )


def _next_step(evaluation: Evaluation, out: Path, config: RunConfig, data: ImageData, *, steps: int) -> str:
    reason = reason_against_publishing(evaluation.values, image_shape=data.image_shape, steps=steps)
    if reason:
        return f"not worth publishing: {reason}"
    return f"publish it: vae-train export {shlex.quote(str(out))} --name {config.name} --alias stable"


def _report(evaluation: Evaluation) -> str:
    lines = [
        f"  {metric.name:<20} {format_value(metric):>10}  {metric.unit}" for metric in evaluation.metrics
    ]
    lines += [f"  warning: {warning}" for warning in evaluation.warnings]
    return "\n".join(lines)
