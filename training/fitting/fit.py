"""One run from configuration and images to weights, snapshots and figures.

Knows the parts of a run and their order. Each part is a module of its own: batches, the Lightning module,
callbacks, the run directory. Knows nothing of arguments or exit codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from model_store import ModelStore, open_store
from training.compute.batch_size import images_at_once
from training.compute.processes import ALONE, Processes, from_first_process, joined
from training.config.recipe import RunConfig
from training.config.sections import DataConfig
from training.data import ImageData, ImageSet, describe_split, fitting_parts
from training.errors import ConfigError, DataError, PosteriorCollapse, RunDirectoryError
from training.fitting.batches import OrderedBatches, ShuffledBatches
from training.fitting.callbacks import EpochLog, PositionOfBatches, RunCheckpoint, StopOnSignals
from training.fitting.collapse import CollapseWatch, OnCollapse, remedy_for
from training.fitting.console import Console, RunProgress
from training.fitting.data_checks import check_sides, objections
from training.fitting.divergence import DivergenceAlarm
from training.fitting.label_check import labels_to_learn
from training.fitting.lightning_module import FittingModule
from training.fitting.output_start import PixelMoments, begin_at
from training.fitting.resuming import (
    MAY_CHANGE,
    ScheduleOfThisRun,
    carried_over,
    changes,
    check_changes,
    schedule_note,
)
from training.fitting.snapshots import Pictures
from training.fitting.trainer import Precision, make_trainer, quiet_lightning, resolve_precision
from training.fitting.warm_start import StartingWeights
from training.models import LatentImageModel, build_model
from training.randomness.seeding import generator_for
from training.runs.provenance import Provenance, describe_provenance
from training.runs.restart import Restart
from training.runs.run_directory import FittedRun, RunDirectory, load_run, save_provenance
from training.runs.writing import writing_into

#: Images in a batch of the validation.
_VALIDATED_AT_ONCE = 512


def fit(
    config: RunConfig,
    data: ImageData,
    out: Path,
    *,
    resume: bool = False,
    console: Console,
    before_training: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
    helper: Sequence[str] = (),
    store: ModelStore | None = None,
    on_collapse: OnCollapse = "go-on",
) -> FittedRun:
    """Train, or continue to train, until the last epoch; write everything except the final figures.

    A resumed run ends with the same bits as an uninterrupted one, on the same machine with the same number of
    threads and processes. Several processes share each batch, and end with the weights of one process, up to
    the rounding of the gradient's mean.

    Args:
        config: Configuration of a new run; with `resume`, the run's own, except for `MAY_CHANGE`.
        data: The images; the test part is not used.
        out: The run directory.
        resume: Continue the run in `out` from its last checkpoint.
        console: Output for the progress.
        before_training: Called after all checks have passed.
        processes: The processes that train together; this must be the first of them.
        helper: Command that starts a further process, which then calls `join`.
        store: Contains the version of `trainer.start_from`; left out, the store that a server would use.
        on_collapse: Reaction to posterior collapse: end, restart with a remedy (once, and only with one
            process), or only warn.

    Raises:
        ConfigError: The processes cannot share a batch evenly, the version to start from has other layers, or
            the recipe's layers are unsuitable for images of this size.
        StoreError: The version to start from is missing or corrupt.
        ProcessLost: Another process ended or never came.
        RunDirectoryError: `out` does not match `resume` or its absence.
        DataError: The images are too few, or differ from those of the run's start.
        NonFiniteTraining: Loss or weights became NaN or infinite.
        PosteriorCollapse: The posterior collapsed, and `on_collapse` is end.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state was saved.
        WriteFailed: The disk is full or not writable; the last checkpoint is intact.
    """
    directory = RunDirectory(out)
    begun_anew = directory.read_restart() if resume else None
    if begun_anew is not None:
        config = _with_its_remedy(config, begun_anew, directory)
    check_sides(config, data.train)
    precision = resolve_precision(config.trainer, processes.accelerator)
    if config.trainer.batch_size % processes.count:
        raise ConfigError(
            f"trainer.batch_size: expected a multiple of {processes.count}, the number of processes, which "
            f"share each batch evenly; got {config.trainer.batch_size}. Change it with --set, or change "
            "--devices or --nodes."
        )
    train, validation, batches = _parts(config, data, processes)
    if len(batches) == 0:
        raise DataError(
            f"{train.name}: expected at least trainer.batch_size = {config.trainer.batch_size} training "
            f"images, got {len(train)}. Lower trainer.batch_size or data.validation_size."
        )
    provenance = describe_provenance(
        config, data, precision=precision, threads=torch.get_num_threads(), processes=processes
    )
    if resume:
        provenance = _check_resumable(directory, config, provenance, console, steps_per_epoch=len(batches))
    start = None
    if not (resume and directory.checkpoint.is_file()):
        start = _start(config, directory, store)
    if start is not None:
        start.load_into(_new_model(config, data.image_shape))
    first_weights = partial(begin_at, moments=PixelMoments.of(train)) if start is None else start.load_into
    with writing_into(out):
        if not resume:
            directory.make()
            save_provenance(directory, provenance)
            directory.write_config(config)  # the last: from now on there is a run to resume
        with directory.locked():
            directory.remove_leftovers()
            if resume and provenance != directory.read_provenance():
                # First log the change, then make it: after a crash in between, it is made again.
                save_provenance(directory, provenance)
            if resume and config.decisive() != directory.read_config().decisive():
                directory.write_config(config)
            before_training()
            for objection in objections(config, train):
                console.say(f"warning: {objection}")
            run = partial(
                _train_jointly,
                directory=directory,
                batches=batches,
                validation=validation,
                first_weights=first_weights,
                data_fingerprint=provenance.data_fingerprint,
                split=provenance.split,
                precision=precision,
                console=console,
                processes=processes,
                helper=helper,
                end_on_collapse=on_collapse != "go-on",
            )
            try:
                run(config)
            except PosteriorCollapse as collapse:
                # Several processes cannot restart the run separately: each step needs all of them.
                if on_collapse == "stop" or begun_anew is not None or processes.count > 1:
                    raise _ended_by(collapse, begun_anew, may_begin_anew=processes.count == 1) from None
                _train_anew(run, config, directory, collapse, console)
    return load_run(out)


def _start(config: RunConfig, directory: RunDirectory, store: ModelStore | None) -> StartingWeights | None:
    """The weights of the version, or of the first part of the run; None for random ones."""
    if config.trainer.start_from:
        return StartingWeights.read(config.trainer.start_from, store or open_store())
    if config.first_part:
        return StartingWeights.of_run(load_run(directory.start))
    return None


def _with_its_remedy(config: RunConfig, begun_anew: Restart, directory: RunDirectory) -> RunConfig:
    """The configuration for a resumed run that was restarted after a collapse, from the requested one."""
    asked = changes(begun_anew.asked, config)
    if any(change.key not in MAY_CHANGE for change in asked):
        return config
    return carried_over(asked, onto=directory.read_config())


def _train_anew(
    run: Callable[[RunConfig], None],
    config: RunConfig,
    directory: RunDirectory,
    collapse: PosteriorCollapse,
    console: Console,
) -> None:
    """Train from the start with the remedy; a second collapse ends the run."""
    remedy = remedy_for(config)
    restart = Restart(epochs=collapse.epochs, because=str(collapse), changes=remedy.changes, asked=config)
    directory.begin_anew(remedy.config, restart)
    console.say(f"the run is {restart}")
    try:
        run(remedy.config)
    except PosteriorCollapse as again:
        raise _ended_by(again, restart) from None


def _ended_by(
    collapse: PosteriorCollapse, begun_anew: Restart | None, *, may_begin_anew: bool = False
) -> PosteriorCollapse:
    """The collapse, with the remedies so far and the next ones."""
    tried = f" The run was {begun_anew}." if begun_anew is not None else ""
    anew = "--resume restarts with a remedy, and " if may_begin_anew and begun_anew is None else ""
    return PosteriorCollapse(
        f"{collapse}{tried} Its state is kept: {anew}--resume --on-collapse go-on continues to train it.",
        epochs=collapse.epochs,
    )


def _train_jointly(
    config: RunConfig,
    *,
    directory: RunDirectory,
    batches: ShuffledBatches,
    validation: ImageSet,
    first_weights: Callable[[LatentImageModel], None],
    data_fingerprint: str,
    split: str,
    precision: Precision,
    console: Console,
    processes: Processes,
    helper: Sequence[str],
    end_on_collapse: bool,
) -> None:
    """Send the task to the other processes, and train with them."""
    task = _Task(
        config=config.to_json(),
        data_fingerprint=data_fingerprint,
        split=split,
        precision=precision,
        resumes=directory.checkpoint.is_file(),
        end_on_collapse=end_on_collapse,
    )
    with joined(processes, helper):
        from_first_process(lambda: task)
        _train(
            config,
            directory,
            batches,
            validation,
            first_weights=first_weights,
            task=task,
            console=console,
            processes=processes,
        )


def join(
    load: Callable[[DataConfig], ImageData],
    out: Path,
    *,
    processes: Processes,
    helper: Sequence[str] = (),
) -> None:
    """Train with the process that called `fit` and that sends the task; write nothing to the disk.

    Args:
        load: Reads the images of a configuration.
        out: Run directory of the first process, for messages; it need not exist here.
        processes: The processes that train together, and this one's place.
        helper: Command that starts a further process, if this is the first of its machine.

    Raises:
        DataError: The images differ from those of the first process.
        ConfigError: The number of processes differs from that of the first one.
        ProcessLost: Another process ended or never came.
        NonFiniteTraining: As in the first process.
        TrainingInterrupted: As in the first process.
    """
    with joined(processes, helper):
        task = from_first_process(_nobodys_task)
        config = RunConfig.from_json(task.config, where="the first process")
        data = load(config.data)
        if data.train.fingerprint != task.data_fingerprint:
            raise DataError(
                f"{data.name}: expected the images of the first process (fingerprint "
                f"{task.data_fingerprint[:12]}…), got others ({data.train.fingerprint[:12]}…). Start every "
                "process with the same --data."
            )
        if describe_split(data) != task.split:
            raise DataError(
                f"{data.name}: expected the validation images of the first process ({task.split}), got "
                f"others ({describe_split(data)}). Start every process with the same --data."
            )
        _, validation, batches = _parts(config, data, processes)
        silent = Console(say=lambda _: None)
        _train(config, RunDirectory(out), batches, validation, task=task, console=silent, processes=processes)


@dataclass(frozen=True)
class _Task:
    """The task that the first process sends to the others."""

    config: str
    data_fingerprint: str
    split: str
    precision: Precision
    resumes: bool
    """The state of a checkpoint, which the first process reads."""
    end_on_collapse: bool = False
    """Instead of a warning only."""


def _nobodys_task() -> _Task:
    raise AssertionError("the first process fits, and does not assist")


def _parts(
    config: RunConfig, data: ImageData, processes: Processes
) -> tuple[ImageSet, ImageSet, ShuffledBatches]:
    """Images for training, images for validation, and this process's batches of the former."""
    train, validation = fitting_parts(
        data, validation_size=config.data.validation_size, seed=config.trainer.seed
    )
    batches = ShuffledBatches(
        train.images,
        batch_size=config.trainer.batch_size,
        seed=config.trainer.seed,
        share=processes.share,
        at_least=config.trainer.min_steps_per_epoch,
        labels=labels_to_learn(config, train),
    )
    return train, validation, batches


def _train(
    config: RunConfig,
    directory: RunDirectory,
    batches: ShuffledBatches,
    validation: ImageSet,
    *,
    first_weights: Callable[[LatentImageModel], None] = lambda _: None,
    task: _Task,
    console: Console,
    processes: Processes,
) -> None:
    """Assemble the run and let Lightning train from the last checkpoint, if any.

    `first_weights` changes the weights of the first process, which sends them to the others.
    """
    model = _new_model(config, validation.image_shape)
    first_weights(model)
    if config.trainer.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = FittingModule(model, config, steps_per_epoch=len(batches), share=processes.share)

    every_steps = min(50, len(batches))
    progress = RunProgress(config, console, steps_per_epoch=len(batches))
    epoch_log = EpochLog(directory, every_steps=every_steps, announce=progress.announce)
    watch = CollapseWatch(
        validation, lambda: epoch_log.rows, say=console.say, end_on_collapse=task.end_on_collapse
    )
    callbacks: list[Callback] = [ScheduleOfThisRun(), PositionOfBatches(batches), epoch_log, watch]
    pictures = Pictures(
        directory,
        validation,
        every_epochs=config.trainer.pictures_every_epochs,
        epochs=config.trainer.epochs,
        seed=config.evaluation.seed,
    )
    if processes.leads:
        callbacks += [progress, DivergenceAlarm(validation.image_shape, console.say), pictures]
    checkpoint = RunCheckpoint(directory, epoch_log, minutes=config.trainer.checkpoint_minutes)
    with quiet_lightning(), StopOnSignals(checkpoint, console.say) as stopping:
        trainer = make_trainer(
            config,
            directory,
            precision=task.precision,
            callbacks=[*callbacks, stopping, checkpoint],
            every_steps=every_steps,
            processes=processes,
        )
        trainer.fit(
            module,
            train_dataloaders=batches,
            val_dataloaders=OrderedBatches(
                validation.images, batch_size=images_at_once(validation.image_shape, most=_VALIDATED_AT_ONCE)
            ),
            ckpt_path=directory.checkpoint if task.resumes else None,
            weights_only=True,
        )
    if processes.leads:
        kept = directory.read_kept()
        if kept is not None:
            console.say(f"kept the weights of {kept}")
            if not kept.are_the_last:
                pictures.draw(load_run(directory.root).model)


def _new_model(config: RunConfig, image_shape: tuple[int, int, int]) -> LatentImageModel:
    """A model with weights from torch's global generator, whose state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(config.trainer.seed, "weights").initial_seed())
        return build_model(config.model, image_shape)


def _check_resumable(
    directory: RunDirectory, config: RunConfig, now: Provenance, console: Console, *, steps_per_epoch: int
) -> Provenance:
    """Reject other images, other decisive keys and a damaged checkpoint; report the changes of a resumed run.

    Returns:
        The provenance of the resumed run.
    """
    started_as = directory.read_config()
    found = changes(started_as, config)
    begun, step = directory.check_checkpoint() if directory.checkpoint.is_file() else (0, 0)
    check_changes(found, config, epochs_begun=begun, where=directory.config)
    then = directory.read_provenance()
    if then.data_fingerprint != now.data_fingerprint:
        raise DataError(
            f"{directory.root}: expected the images of the run's start (fingerprint "
            f"{then.data_fingerprint[:12]}…), got others ({now.data_fingerprint[:12]}…). Resume with the "
            "same --data as at the start."
        )
    if then.split == "permutation":
        raise RunDirectoryError(
            f"{directory.root}: expected a run whose validation images were chosen by their content, got a "
            "run of an earlier version, which chose others. Start a new run in another --out."
        )
    if then.split != now.split:
        raise DataError(
            f"{directory.root}: expected the validation images of the run's start ({then.split}), got "
            f"others ({now.split}). Resume with the same --data as at the start."
        )
    for what in ("precision", "threads", "devices", "nodes", "accelerator", "libraries"):
        before, after = getattr(then, what), getattr(now, what)
        if before != after:
            console.say(
                f"note: {what} was {before} at the start of the run and is {after} now; the weights will "
                "differ in some bits from those of an uninterrupted run"
            )
    for change in found:
        console.say(f"note: {change}")
    note = schedule_note(started_as, config, step=step, steps_per_epoch=steps_per_epoch)
    if note and step:
        console.say(note)
    _say_why_it_has_ended(directory, config, step=step, steps_per_epoch=steps_per_epoch, console=console)
    told = tuple(f"after step {step}: {change}" for change in found)
    return replace(then, changes=(*then.changes, *(each for each in told if each not in then.changes)))


def _say_why_it_has_ended(
    directory: RunDirectory, config: RunConfig, *, step: int, steps_per_epoch: int, console: Console
) -> None:
    """Report how to extend a finished run, which does not train further by itself."""
    chosen, kept = config.trainer, directory.read_kept()
    without_better = 0 if kept is None else kept.last_epoch - kept.epoch
    if step >= chosen.epochs * steps_per_epoch:
        console.say(
            f"note: the run has completed its {chosen.epochs} epochs. Extend it with --resume --set "
            f"trainer.epochs={2 * chosen.epochs}"
        )
    elif 0 < chosen.early_stopping_epochs <= without_better:
        console.say(
            f"note: the run stopped early, after {without_better} epochs without an improvement. Extend it "
            "with --resume --set trainer.early_stopping_epochs=N, N above that, or 0 for never"
        )
