"""The origin of a run: all information to train the same weights again.

Knows library versions, git and fingerprints. Knows nothing of models.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from training.compute.processes import ALONE, Processes
from training.config.recipe import RunConfig
from training.data import ImageData, count_fitting_parts, describe_split

#: Distributions whose code influences the weights.
_LIBRARIES = ("torch", "lightning", "numpy")


@dataclass(frozen=True)
class Provenance:
    """The contents of `provenance.json`."""

    recipe: str
    """Name of the recipe; `config.json` contains the whole configuration."""
    data: str
    """Name and sizes of the images."""
    data_fingerprint: str
    """SHA-256 over the decompressed training images, including held-out ones. It excludes the data's own
    validation part; see `split`."""
    libraries: dict[str, str]
    """Version of each library that influences the weights."""
    seed: int
    git_revision: str
    """Commit, with `-dirty` if tracked files under `training/` differ from it; or `unknown`."""
    precision: str
    """`float32` or `bfloat16` (autocast), as used on the training machine."""
    threads: int
    """Threads of torch in each process. Another number may change the last bits of the weights."""
    devices: int = 1
    """Processes on each machine."""
    nodes: int = 1
    """Number of machines."""
    accelerator: str = "cpu"
    """`cpu` or `gpu`."""
    split: str = "permutation"
    """Choice of the validation images: by their `content`, by a `permutation`, as formerly, or `given`, with
    the fingerprint of those images."""
    changes: tuple[str, ...] = ()
    """Changes during the run, by `--resume` and `--set`, each with its step."""


def describe_provenance(
    config: RunConfig,
    data: ImageData,
    *,
    precision: str,
    threads: int,
    processes: Processes = ALONE,
) -> Provenance:
    """Collect the provenance of a new run."""
    trained_on, validated_on = count_fitting_parts(
        data, validation_size=config.data.validation_size, seed=config.trainer.seed
    )
    how = "held back" if data.validation is None else "given"
    return Provenance(
        recipe=config.name,
        data=(
            f"{data.name}: {trained_on:,} images to train on, {validated_on:,} {how} "
            f"for validation, {len(data.test):,} for the test"
        ),
        data_fingerprint=data.train.fingerprint,
        libraries={name: metadata.version(name) for name in _LIBRARIES},
        seed=config.trainer.seed,
        git_revision=git_revision(Path(__file__).parent),
        precision=precision,
        threads=threads,
        devices=processes.devices,
        nodes=processes.nodes,
        accelerator=processes.accelerator,
        split=describe_split(data),
    )


def git_revision(package: Path) -> str:
    """The commit that contains a package's source, `-dirty` if its tracked files differ, or `unknown`.

    A package inside of another repository (an installation in a project's virtual environment) does not
    belong to that repository's revision: its files must be tracked.
    """
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def run(*arguments: str) -> str | None:
        done = subprocess.run(  # noqa: S603  # fixed program and arguments
            [git, "-C", str(package), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    if run("ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown"
    revision = run("rev-parse", "HEAD")
    changed = run("status", "--porcelain", "--untracked-files=no", "--", ".")
    if revision is None or changed is None:
        return "unknown"
    return f"{revision}-dirty" if changed else revision
