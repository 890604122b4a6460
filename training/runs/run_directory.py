"""The run directory: the location of each file, written so that a crash leaves the old or the new one.

Knows paths, configurations and weights. Knows nothing of fitting or measuring a run.

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

from model_store.validation_messages import reason_of
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
        """All state that a resumed run needs."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def model(self) -> Path:
        """The weights to evaluate and export."""
        return self.root / "model.pt"

    @property
    def restart(self) -> Path:
        """The record of a restart after a collapse."""
        return self.root / "restart.json"

    @property
    def last_model(self) -> Path:
        """The weights of the last epoch, if early stopping kept better ones."""
        return self.root / "last.pt"

    @property
    def start(self) -> Path:
        """The run directory of the recipe that this run trained by first, if it did."""
        return self.root / "start"

    @property
    def kept(self) -> Path:
        """The record of the weights that early stopping kept."""
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
        """The description of the prior: its weights and its quality."""
        return self.root / "prior.json"

    @property
    def curves(self) -> Path:
        """Plot of the log."""
        return self.root / "curves.png"

    @property
    def reconstructions(self) -> Path:
        """Plot of validation images above their reconstructions."""
        return self.root / "reconstructions.png"

    @property
    def samples(self) -> Path:
        """Plot of decoded draws from N(0, I)."""
        return self.root / "samples.png"

    @property
    def has_begun(self) -> bool:
        """Whether it contains a run to continue: `config.json` is the last file that a start writes."""
        return self.config.is_file()

    def make(self) -> None:
        """Make the directory; the remains of a start that was killed are no obstacle.

        Raises:
            RunDirectoryError: The directory is in use, or its name is not UTF-8.
        """
        try:
            os.fspath(self.root).encode()
        except UnicodeEncodeError:
            # TensorBoard's writer accepts only names in UTF-8, and would end the run after its start.
            raise RunDirectoryError(
                f"{self.root}: expected a name in UTF-8, got other bytes. Choose another --out."
            ) from None
        if self.root.is_dir() and not self._is_unused():
            if self.has_begun:
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
                    f"{self.root}: expected a new directory, could not create it: {error.strerror}. Choose "
                    "another --out."
                ) from error

    def _is_unused(self) -> bool:
        """Whether the directory is empty, or contains only what `make` and a killed start leave behind."""
        found = {path.name for path in self.root.iterdir()} - {self.start.name}
        folder = self.checkpoint.parent
        of_a_start = {folder.name, self.provenance.name, ".provenance.json.part", ".config.json.part"}
        return not found or (found <= of_a_start and folder.is_dir() and not any(folder.iterdir()))

    def write_config(self, config: RunConfig) -> None:
        """Record the new configuration of the run."""
        write_text(self.config, config.to_json())

    def read_config(self) -> RunConfig:
        """The configuration of the run.

        Raises:
            RunDirectoryError: This is not a run directory.
            ConfigError: Another version of this package wrote the file.
        """
        if not self.config.is_file():
            raise RunDirectoryError(
                f"{self.root}: expected a run directory, found no config.json in it. Use the --out of an "
                "earlier `vae-train fit`."
            )
        return RunConfig.from_json(self.config.read_text(encoding="utf-8"), where=str(self.config))

    def steps(self) -> int:
        """Steps of the optimiser until the end of the last epoch, by the log; 0 without a log."""
        try:
            lines = list(csv.DictReader(io.StringIO(self.log.read_text(encoding="utf-8"))))
            return int(lines[-1]["step"]) if lines else 0
        except (OSError, ValueError, KeyError):
            return 0

    def read_provenance(self) -> Provenance:
        """The provenance of the run.

        Raises:
            RunDirectoryError: The file is missing, or `fit` did not write it.
        """
        try:
            stated = json.loads(self.provenance.read_text(encoding="utf-8"))
            return Provenance(**{**stated, "changes": tuple(stated.get("changes", ()))})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunDirectoryError(
                f"{self.provenance}: expected the output of `vae-train fit`, got {type(error).__name__}: "
                f"{error}. Use an unmodified run directory, or start a new run."
            ) from error

    def read_restart(self) -> Restart | None:
        """The record of a restart after a collapse; None without one.

        Raises:
            RunDirectoryError: `fit` did not write the file.
        """
        if not self.restart.is_file():
            return None
        try:
            return Restart.model_validate_json(self.restart.read_bytes())
        except ValueError as error:
            raise RunDirectoryError(
                f"{self.restart}: expected the output of `vae-train fit`, got something else: "
                f"{reason_of(error)}. Use an unmodified run directory, or start a new run."
            ) from error

    def begin_anew(self, config: RunConfig, restart: Restart) -> None:
        """Delete the state and the weights, and record the restart.

        After an interruption half way, `--resume` starts with the original configuration.
        """
        for path in (self.checkpoint, self.model, self.last_model, self.kept, self.log):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.root / "tensorboard", ignore_errors=True)
        write_text(self.restart, restart.model_dump_json(indent=2) + "\n")
        write_text(self.config, config.to_json())

    def read_kept(self) -> KeptWeights | None:
        """The record of the weights that early stopping kept; None for a run without it.

        Raises:
            RunDirectoryError: `fit` did not write the file.
        """
        if not self.kept.is_file():
            return None
        try:
            return KeptWeights.from_json(self.kept.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(
                f"{self.kept}: expected the output of `vae-train fit`, got {type(error).__name__}: {error}. "
                "Use an unmodified run directory, or start a new run."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Prevent other processes from training in this directory, until this process ends in any way.

        Raises:
            RunDirectoryError: Another process trains in it.
        """
        # A lock on the folder itself: a run replaces files in it, including config.json.
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
            RunDirectoryError: It is damaged, or contains something else.
        """
        try:
            stored = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            return int(stored["epoch"]) + 1, int(stored["global_step"])
        except Exception as error:  # torch raises many kinds; each reaches the caller
            raise RunDirectoryError(
                f"{self.checkpoint}: expected a checkpoint of `vae-train fit`, got an unreadable file: "
                f"{type(error).__name__}. Start a new run in another --out."
            ) from error

    def remove_leftovers(self) -> None:
        """Delete the temporary files of killed processes."""
        for folder in (self.root, self.checkpoint.parent):
            for leftover in folder.glob(".*.part"):
                leftover.unlink()


@dataclass(frozen=True)
class FittedRun:
    """A run for evaluation and export."""

    directory: RunDirectory
    config: RunConfig
    model: LatentImageModel
    """With the averaged weights, in evaluation mode, float32."""
    provenance: Provenance
    epochs: int
    """Passes over the training images behind these weights."""
    restart: Restart | None = None
    """The record of a restart after a collapse."""
    kept: KeptWeights | None = None
    """The record of these weights, in a run with early stopping."""


def load_run(run_dir: Path) -> FittedRun:
    """Read a run directory; it works after the first epoch.

    Weights are read with `weights_only=True`: a run directory from elsewhere can contain wrong numbers but no
    code.

    Raises:
        RunDirectoryError: Not a run directory, or its files do not belong together.
        RunNotFinished: It contains no weights yet.
        ConfigError: Another version of this package wrote it.
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
        # The random weights are replaced at once, so the caller's generator must keep its state.
        with torch.random.fork_rng(devices=[]):
            model = build_model(config.model, (channels, height, width))
        model.load_state_dict(stored["state_dict"])
        epochs = int(stored["epochs"])
    except Exception as error:  # torch alone raises five kinds; each reaches the caller
        raise RunDirectoryError(
            f"{run_dir}: model.pt is unreadable or does not belong to config.json: {type(error).__name__}: "
            f"{error}. Use an unmodified run directory of `vae-train fit`."
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
    # Through memory (10 MB), so that a full disk raises `WriteFailed` and not torch's own kind of error.
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    _write_atomically(path, buffer.getbuffer())


def _write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a crash or a full disk leaves either the old content or the new.

    Temporary file in the same directory, fsync, rename, fsync of the directory.

    Raises:
        WriteFailed: Any error of the operating system.
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
