"""The run directory: which file lies where, written so that a crash leaves the old or the new one.

Knows paths, configurations and weights. Knows nothing of how a run is fitted or measured.

::

    runs/x/
      config.json          the whole configuration, defaults included
      provenance.json      data fingerprint, library versions, seed, git revision
      log.csv              one line per epoch
      tensorboard/         events, one value per step and per epoch
      curves.png  reconstructions.png  samples.png
      checkpoints/last.ckpt   everything needed to go on
      model.pt             the weights to evaluate and export (their running mean), tensors only
      restart.json         that the run was begun anew after a collapse, and with which changes
      last.pt  kept.json   with early stopping: the last weights, if worse than model.pt; both figures
      evaluation.json  evaluation.md   the figures at the end, for programs and for people
      prior.npz  prior.json   a prior fitted by `vae-train fit-prior`, and how
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.config.recipe import RunConfig
from training.errors import RunDirectoryError, RunNotFinished
from training.models import LatentImageModel, build_model
from training.runs.kept_weights import KeptWeights
from training.runs.provenance import Provenance
from training.runs.restart import Restart
from training.runs.writing import writing

_MODEL_FORMAT = 1


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def provenance(self) -> Path:
        """Where the run came from."""
        return self.root / "provenance.json"

    @property
    def log(self) -> Path:
        """One line per epoch."""
        return self.root / "log.csv"

    @property
    def checkpoint(self) -> Path:
        """Everything needed to go on."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def model(self) -> Path:
        """The weights to evaluate and export."""
        return self.root / "model.pt"

    @property
    def restart(self) -> Path:
        """That the run was begun anew after a collapse."""
        return self.root / "restart.json"

    @property
    def last_model(self) -> Path:
        """The weights of the last epoch, where early stopping kept better ones."""
        return self.root / "last.pt"

    @property
    def kept(self) -> Path:
        """Which weights early stopping kept."""
        return self.root / "kept.json"

    @property
    def evaluation(self) -> Path:
        """The figures at the end."""
        return self.root / "evaluation.json"

    @property
    def prior(self) -> Path:
        """The mixtures of a fitted prior."""
        return self.root / "prior.npz"

    @property
    def prior_facts(self) -> Path:
        """What was fitted, to which weights, and how well."""
        return self.root / "prior.json"

    @property
    def curves(self) -> Path:
        """Picture of the log."""
        return self.root / "curves.png"

    @property
    def reconstructions(self) -> Path:
        """Picture of validation images above what the model gives back."""
        return self.root / "reconstructions.png"

    @property
    def samples(self) -> Path:
        """Picture of decoded draws from N(0, I)."""
        return self.root / "samples.png"

    def start(self, config: RunConfig) -> None:
        """Make the directory and record the configuration.

        Raises:
            RunDirectoryError: Something is in the way, or the name is not UTF-8.
        """
        try:
            os.fspath(self.root).encode()
        except UnicodeEncodeError:
            # TensorBoard's writer takes names in UTF-8 alone, and would end the run after its start.
            raise RunDirectoryError(
                f"{self.root}: expected a name in UTF-8, got bytes that are not. Choose another --out."
            ) from None
        if self.root.is_dir() and any(self.root.iterdir()):
            if self.config.is_file():
                raise RunDirectoryError(
                    f"{self.root}: expected an empty or new directory, got one with a run in it. Continue "
                    "that run with --resume, or choose another --out."
                )
            raise RunDirectoryError(
                f"{self.root}: expected an empty or new directory, got one with other files. Choose "
                "another --out."
            )
        with writing(self.root):
            try:
                self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise RunDirectoryError(
                    f"{self.root}: expected a directory that can be made, got: {error.strerror}. Choose "
                    "another --out."
                ) from error
        self.write_config(config)

    def write_config(self, config: RunConfig) -> None:
        """Record the configuration that the run has from now on."""
        write_text(self.config, config.to_json())

    def read_config(self) -> RunConfig:
        """The configuration the run was started with.

        Raises:
            RunDirectoryError: This is not a run directory.
            ConfigError: The file is of another version of this package.
        """
        if not self.config.is_file():
            raise RunDirectoryError(
                f"{self.root}: expected a run directory, found no config.json in it. Give the --out of "
                "an earlier `vae-train fit`."
            )
        return RunConfig.from_json(self.config.read_text(encoding="utf-8"), where=str(self.config))

    def steps(self) -> int:
        """Of the optimiser until the end of the last epoch, by the log; 0 without one."""
        try:
            lines = list(csv.DictReader(io.StringIO(self.log.read_text(encoding="utf-8"))))
            return int(lines[-1]["step"]) if lines else 0
        except (OSError, ValueError, KeyError):
            return 0

    def read_provenance(self) -> Provenance:
        """Where the run came from.

        Raises:
            RunDirectoryError: The file is missing or is not what `fit` writes.
        """
        try:
            stated = json.loads(self.provenance.read_text(encoding="utf-8"))
            return Provenance(**{**stated, "changes": tuple(stated.get("changes", ()))})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunDirectoryError(
                f"{self.provenance}: expected what `vae-train fit` wrote, got {type(error).__name__}: "
                f"{error}. Use the run directory as it was left, or start a new one."
            ) from error

    def read_restart(self) -> Restart | None:
        """How the run was begun anew after a collapse; None where it was not.

        Raises:
            RunDirectoryError: The file is not what `fit` writes.
        """
        if not self.restart.is_file():
            return None
        try:
            return Restart.model_validate_json(self.restart.read_bytes())
        except ValueError as error:
            raise RunDirectoryError(
                f"{self.restart}: expected what `vae-train fit` wrote, got something else: "
                f"{str(error)[:300]}. Use the run directory as it was left, or start a new one."
            ) from error

    def begin_anew(self, config: RunConfig, restart: Restart) -> None:
        """Delete the state and the weights, and record how the run goes on.

        Ended half way, `--resume` begins with the configuration that was asked for.
        """
        for path in (self.checkpoint, self.model, self.last_model, self.kept, self.log):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.root / "tensorboard", ignore_errors=True)
        write_text(self.restart, restart.model_dump_json(indent=2) + "\n")
        write_text(self.config, config.to_json())

    def read_kept(self) -> KeptWeights | None:
        """Which weights early stopping kept; None for a run without it.

        Raises:
            RunDirectoryError: The file is not what `fit` writes.
        """
        if not self.kept.is_file():
            return None
        try:
            return KeptWeights.from_json(self.kept.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(
                f"{self.kept}: expected what `vae-train fit` wrote, got {type(error).__name__}: {error}. "
                "Use the run directory as it was left, or start a new one."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this directory; freed when the process ends, killed or not.

        Raises:
            RunDirectoryError: Another process is at it.
        """
        # The folder itself: files in it are replaced while a run holds the lock, config.json among them.
        folder = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(
                    f"{self.root}: expected no other process to train here, but one does. Wait for it, stop "
                    "it with Ctrl-C, or choose another --out."
                ) from error
            yield
        finally:
            os.close(folder)

    def check_checkpoint(self) -> tuple[int, int]:
        """Read the checkpoint as tensors and plain values only.

        Returns:
            (epochs begun, steps done).

        Raises:
            RunDirectoryError: It is damaged, or holds something else.
        """
        try:
            stored = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            return int(stored["epoch"]) + 1, int(stored["global_step"])
        except Exception as error:  # torch raises many kinds; each is handed to the caller
            raise RunDirectoryError(
                f"{self.checkpoint}: expected a checkpoint of `vae-train fit`, got a file that cannot be "
                f"read: {type(error).__name__}. Start a new run in another --out."
            ) from error

    def remove_leftovers(self) -> None:
        """Delete the temporary files that a killed process could not rename."""
        for folder in (self.root, self.checkpoint.parent):
            for leftover in folder.glob(".*.part"):
                leftover.unlink()


@dataclass(frozen=True)
class FittedRun:
    """A run read back: what to evaluate and export."""

    directory: RunDirectory
    config: RunConfig
    model: LatentImageModel
    """With the averaged weights, in evaluation mode, float32."""
    provenance: Provenance
    epochs: int
    """Passes over the training images behind these weights."""
    restart: Restart | None = None
    """How it was begun anew after a collapse."""
    kept: KeptWeights | None = None
    """Which weights these are, in a run with early stopping."""


def load_run(run_dir: Path) -> FittedRun:
    """Read a run directory; works as soon as one epoch is done.

    Weights are read with `weights_only=True`: a run directory from elsewhere can hold wrong
    numbers but no code.

    Raises:
        RunDirectoryError: Not a run directory, or its files do not belong together.
        RunNotFinished: No weights are there yet.
        ConfigError: It was written by another version of this package.
    """
    directory = RunDirectory(run_dir)
    config = directory.read_config()
    if not directory.model.is_file():
        raise RunNotFinished(
            f"{run_dir}: expected weights in model.pt, found none; they appear after the first epoch. "
            "Wait, or continue the run with --resume."
        )
    provenance = directory.read_provenance()
    try:
        stored = torch.load(directory.model, map_location="cpu", weights_only=True)
        channels, height, width = stored["image_shape"]
        # The weights drawn here are thrown away, so the caller's generator must not notice.
        with torch.random.fork_rng(devices=[]):
            model = build_model(config.model, (channels, height, width))
        model.load_state_dict(stored["state_dict"])
        epochs = int(stored["epochs"])
    except Exception as error:  # torch alone raises five kinds; each is handed to the caller
        raise RunDirectoryError(
            f"{run_dir}: model.pt cannot be read or does not belong to config.json: "
            f"{type(error).__name__}: {error}. Use the run directory as `vae-train fit` left it."
        ) from error
    return FittedRun(
        directory=directory,
        config=config,
        model=model.eval(),
        provenance=provenance,
        epochs=epochs,
        restart=directory.read_restart(),
        kept=directory.read_kept(),
    )


def save_model(directory: RunDirectory, model: LatentImageModel, *, epochs: int, last: bool = False) -> None:
    """Write `model.pt`, or `last.pt`: tensors, the image shape and the number of epochs behind them."""
    stored = {
        "format": _MODEL_FORMAT,
        "image_shape": list(model.image_shape),
        "epochs": epochs,
        "state_dict": {
            name: tensor.detach().to("cpu", torch.float32, memory_format=torch.contiguous_format, copy=True)
            for name, tensor in model.state_dict().items()
        },
    }
    write_tensors(directory.last_model if last else directory.model, stored)


def save_provenance(directory: RunDirectory, provenance: Provenance) -> None:
    """Write `provenance.json`."""
    write_text(directory.provenance, json.dumps(asdict(provenance), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically and durably."""
    _write_atomically(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    _write_atomically(path, content)


def write_tensors(path: Path, stored: dict[str, Any]) -> None:
    """Write tensors and plain values in torch's format, atomically and durably."""
    # Through memory (10 MB), so that a full disk is `WriteFailed` and not torch's own kind of error.
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    _write_atomically(path, buffer.getbuffer())


def _write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new.

    Temporary file in the same directory, fsync, rename, fsync of the directory.

    Raises:
        WriteFailed: Whatever the operating system refused.
    """
    temporary = path.with_name(f".{path.name}.part")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # a disk that became read-only refuses that as well
                temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
