"""One run from configuration and images to weights, pictures and figures.

Knows which parts a run is made of and in what order they act. Each part lives in a module of its
own: batches, the Lightning module, callbacks, the run directory. Knows nothing of arguments or
exit codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from model_store import ModelStore, default_store_root
from training.batches import OrderedBatches, ShuffledBatches
from training.callbacks import EpochLog, PositionOfBatches, RunCheckpoint, StopOnSignals
from training.config import DataConfig, RunConfig
from training.console import Console, announcer
from training.data import ImageData, ImageSet, describe_split, fitting_parts
from training.errors import ConfigError, DataError, RunDirectoryError
from training.lightning_trainer import Precision, make_trainer, quiet_lightning, resolve_precision
from training.models import LatentImageModel, build_model
from training.module import FittingModule
from training.pictures import Pictures
from training.processes import ALONE, Processes, from_first_process, joined
from training.provenance import Provenance, describe_provenance
from training.run_directory import FittedRun, RunDirectory, load_run, save_provenance
from training.seeding import generator_for
from training.starting import StartingWeights
from training.suitability import objections


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
) -> FittedRun:
    """Train, or go on training, until the last epoch; leaves everything but the final figures.

    A resumed run ends with the same bits as an uninterrupted one, on the same machine with the
    same number of threads and processes. Several processes share each batch, and end with the weights
    of one up to the rounding of the gradient's mean.

    Args:
        config: Of a new run; with `resume` it must be the one the run was started with.
        data: The images; the test part is not looked at.
        out: The run directory.
        resume: Continue what is in `out` from its last checkpoint.
        console: Where progress is told.
        before_training: Called once nothing is left that could be refused.
        processes: That train together; this must be the first of them.
        helper: Command that starts one beside this, which then calls `assist`.
        store: Where the version of `trainer.start_from` is; left out, where a server would look.

    Raises:
        ConfigError: A batch cannot be shared evenly, or the version to start from has other layers.
        StoreError: The version to start from is missing or cannot be trusted.
        ProcessLost: Another process ended or never came.
        RunDirectoryError: `out` is not what `resume` or its absence expects.
        DataError: Too few images, or others than the run was started with.
        NonFiniteTraining: Loss or weights became NaN or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state was saved.
    """
    directory = RunDirectory(out)
    precision = resolve_precision(config.trainer, processes.accelerator)
    if config.trainer.batch_size % processes.count:
        raise ConfigError(
            f"trainer.batch_size: expected a multiple of {processes.count}, the number of processes, which "
            f"share each batch evenly; got {config.trainer.batch_size}. Change it by --set, or change "
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
        _check_resumable(directory, config, provenance, console)
    start = None
    if config.trainer.start_from and not (resume and directory.checkpoint.is_file()):
        start = StartingWeights.read(config.trainer.start_from, store or ModelStore(default_store_root()))
        start.put_into(_new_model(config, data.image_shape))
    if not resume:
        directory.start(config)
        save_provenance(directory, provenance)
    with directory.locked():
        directory.remove_leftovers()
        before_training()
        for objection in objections(config, train):
            console.say(f"warning: {objection}")
        task = _Task(
            config=config.to_json(),
            data_fingerprint=provenance.data_fingerprint,
            split=provenance.split,
            precision=precision,
            resumes=directory.checkpoint.is_file(),
        )
        with joined(processes, helper):
            from_first_process(lambda: task)
            _train(
                config,
                directory,
                batches,
                validation,
                start=start,
                task=task,
                console=console,
                processes=processes,
            )
    return load_run(out)


def assist(
    load: Callable[[DataConfig], ImageData],
    out: Path,
    *,
    processes: Processes,
    helper: Sequence[str] = (),
) -> None:
    """Train beside the process that called `fit`, which says what; leaves nothing on the disk.

    Args:
        load: Reads the images that a configuration is about.
        out: As given to the first process, for messages; it need not exist here.
        processes: That train together, and this one's place.
        helper: Command that starts another one beside this, if this is the first of its machine.

    Raises:
        DataError: Other images than the first process has.
        ConfigError: Another number of processes than the first one expects.
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
                f"{task.data_fingerprint[:12]}…), got others ({data.train.fingerprint[:12]}…). Give "
                "every process the same --data."
            )
        if describe_split(data) != task.split:
            raise DataError(
                f"{data.name}: expected the validation images of the first process ({task.split}), got "
                f"others ({describe_split(data)}). Give every process the same --data."
            )
        _, validation, batches = _parts(config, data, processes)
        silent = Console(say=lambda _: None, progress_bar=False)
        _train(config, RunDirectory(out), batches, validation, task=task, console=silent, processes=processes)


@dataclass(frozen=True)
class _Task:
    """What the first process tells the others."""

    config: str
    data_fingerprint: str
    split: str
    precision: Precision
    resumes: bool
    """From a checkpoint, which the first process reads."""


def _nobodys_task() -> _Task:
    raise AssertionError("the first process fits, and does not assist")


def _parts(
    config: RunConfig, data: ImageData, processes: Processes
) -> tuple[ImageSet, ImageSet, ShuffledBatches]:
    """Images to train on, images to validate on, and this process's batches of the former."""
    train, validation = fitting_parts(
        data, validation_size=config.data.validation_size, seed=config.trainer.seed
    )
    batches = ShuffledBatches(
        train.images,
        batch_size=config.trainer.batch_size,
        seed=config.trainer.seed,
        share=processes.share,
    )
    return train, validation, batches


def _train(
    config: RunConfig,
    directory: RunDirectory,
    batches: ShuffledBatches,
    validation: ImageSet,
    *,
    start: StartingWeights | None = None,
    task: _Task,
    console: Console,
    processes: Processes,
) -> None:
    """Put the parts of a run together and let Lightning train from the last checkpoint, if any.

    `start` is put into the weights of the first process, from which the others take theirs.
    """
    model = _new_model(config, validation.image_shape)
    if start is not None:
        start.put_into(model)
    if config.trainer.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = FittingModule(model, config, steps_per_epoch=len(batches), share=processes.share)

    every_steps = min(50, len(batches))
    epoch_log = EpochLog(directory, every_steps=every_steps, announce=announcer(config, console))
    callbacks: list[Callback] = [PositionOfBatches(batches), epoch_log]
    if processes.leads:
        pictures = Pictures(
            directory,
            validation,
            every_epochs=config.trainer.pictures_every_epochs,
            epochs=config.trainer.epochs,
            seed=config.evaluation.seed,
        )
        callbacks.append(pictures)
    checkpoint = RunCheckpoint(directory, minutes=config.trainer.checkpoint_minutes)
    with quiet_lightning(), StopOnSignals(checkpoint, console.say) as stopping:
        trainer = make_trainer(
            config,
            directory,
            precision=task.precision,
            callbacks=[*callbacks, stopping, checkpoint],
            progress_bar=console.progress_bar,
            every_steps=every_steps,
            processes=processes,
        )
        trainer.fit(
            module,
            train_dataloaders=batches,
            val_dataloaders=OrderedBatches(validation.images, batch_size=512),
            ckpt_path=directory.checkpoint if task.resumes else None,
            weights_only=True,
        )


def _new_model(config: RunConfig, image_shape: tuple[int, int, int]) -> LatentImageModel:
    """With weights drawn by torch's global generator, which is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(config.trainer.seed, "weights").initial_seed())
        return build_model(config.model, image_shape)


def _check_resumable(directory: RunDirectory, config: RunConfig, now: Provenance, console: Console) -> None:
    """Refuse another configuration, other images or a damaged checkpoint; tell what changes the bits."""
    if directory.read_config().decisive() != config.decisive():
        raise RunDirectoryError(
            f"{directory.config}: expected the configuration given now, got another one. Resume with the "
            "recipe, seed, --set and --start-from options the run was started with, or start a new run in "
            "another --out."
        )
    then = directory.read_provenance()
    if then.data_fingerprint != now.data_fingerprint:
        raise DataError(
            f"{directory.root}: expected the images the run was started on (fingerprint "
            f"{then.data_fingerprint[:12]}…), got others ({now.data_fingerprint[:12]}…). Resume with the "
            "--data it was started with."
        )
    if then.split == "permutation":
        raise RunDirectoryError(
            f"{directory.root}: expected a run whose validation images were chosen by their content, got one "
            "of an earlier version, which chose others. Start a new run in another --out."
        )
    if then.split != now.split:
        raise DataError(
            f"{directory.root}: expected the validation images the run was started with ({then.split}), got "
            f"others ({now.split}). Resume with the --data it was started with."
        )
    for what in ("precision", "threads", "devices", "nodes", "accelerator", "libraries"):
        before, after = getattr(then, what), getattr(now, what)
        if before != after:
            console.say(
                f"note: {what} was {before} when the run was started and is {after} now; the weights will "
                "not be bit for bit those of an uninterrupted run"
            )
    if directory.checkpoint.is_file():
        directory.check_checkpoint()
