"""Lightning's trainer for a run: its precision, its place among processes, and its silence.

Knows Lightning and the sections of a recipe about it. Knows nothing of models, images or files except the run
directory.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from training.compute.processes import Processes
from training.config.recipe import RunConfig
from training.config.sections import TrainerConfig
from training.fitting.callbacks import DurableCheckpoints, StopWhenNoBetter
from training.fitting.ema import RunningMeanOfWeights
from training.runs.run_directory import RunDirectory

Precision = Literal["float32", "bfloat16"]


def resolve_precision(config: TrainerConfig, accelerator: Literal["cpu", "gpu"] = "cpu") -> Precision:
    """The meaning of `auto` on this machine: bfloat16 if CPU or GPU multiply it in hardware."""
    if config.precision != "auto":
        return config.precision
    if accelerator == "gpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        flags = torch.cpu.get_capabilities()
        native = flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16")
    return "bfloat16" if native else "float32"


def make_trainer(
    config: RunConfig,
    directory: RunDirectory,
    *,
    precision: Precision,
    callbacks: list[Callback],
    every_steps: int,
    processes: Processes,
) -> Trainer:
    """A trainer for this run, with the recipe's own callbacks in addition to `callbacks`."""
    chosen = config.trainer
    if chosen.ema_decay > 0.0:
        # First, so that every other callback sees the averaged weights of the same step.
        callbacks = [RunningMeanOfWeights(chosen.ema_decay), *callbacks]
    if chosen.early_stopping_epochs > 0:
        callbacks = [*callbacks, StopWhenNoBetter(epochs=chosen.early_stopping_epochs)]
    return Trainer(
        accelerator="cuda" if processes.accelerator == "gpu" else "cpu",
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy="auto" if processes.count == 1 else JoinedProcesses(),
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        max_epochs=chosen.epochs,
        gradient_clip_val=config.optimiser.gradient_clip_norm,
        gradient_clip_algorithm="norm",
        callbacks=callbacks,
        logger=processes.leads
        and TensorBoardLogger(directory.root, name="tensorboard", version="", default_hp_metric=False),
        # As requested, for any cluster that this machine may belong to.
        plugins=[DurableCheckpoints(), PlaceOfProcess(processes)],
        log_every_n_steps=every_steps,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


class PlaceOfProcess(LightningEnvironment):
    """Reports the rank of this process to Lightning, and that the other processes exist already."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    @property
    def creates_processes_externally(self) -> bool:
        """True: Lightning starts none."""
        return True

    def local_rank(self) -> int:
        """Number of this process on its machine, from 0."""
        return self._processes.local_rank

    def node_rank(self) -> int:
        """Number of this machine, from 0."""
        return self._processes.node_rank


class JoinedProcesses(DDPStrategy):
    """Lightning's data parallel strategy in an existing process group: it starts no processes."""

    def _configure_launcher(self) -> None:
        # Its launcher would also change the number of threads, and the recorded number would be wrong.
        pass


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence notices about hardware, loaders and products that are irrelevant to a run here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
